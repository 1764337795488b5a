"""Work done ahead by threads, and its callbacks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[int, int, str], None]
"""Called with how many are done, of how many, of what."""
Check = Callable[[], None]
"""Called between pieces of work; raises to stop."""

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Results in order, computed by a few threads that never run far ahead of the consumer.

    Where the consumer ends early, what has not begun is not begun any more; what has is waited for.
    """
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
