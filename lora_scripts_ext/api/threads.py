"""Threads for what blocks: files, the library, whatever computes."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class Threads:
    """A pool of our own: requests for images that wait in a WebUI may have used up the server's."""

    def __init__(self, count: int = 16) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lora-trainer-api")

    async def run(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """What ``function`` returns; it sees the caller's context variables."""
        call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Begin nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
