"""Stopping a command from the keyboard or by a signal, between two pieces of work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on(signals: Sequence[int], on_stop: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Turn the first of these signals into a request to stop; the second raises ``KeyboardInterrupt``.

    Yields whether a stop was requested. ``on_stop`` is called with the first signal.
    """
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        on_stop()

    handlers = {number: signal.signal(number, handle) for number in signals}
    try:
        yield lambda: requested
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
