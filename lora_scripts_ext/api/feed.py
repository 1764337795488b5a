"""Tells event streams that something has changed: one thread looks at the library and the files for all of them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..jobs import event_log
from ..library.queue import Queue
from .errors import Problem

_POLL_SECONDS = 0.2


class Subscription:
    """One stream's wait for news of a job, or of all."""

    def __init__(self, job: str, loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self.closed = False
        self._loop = loop
        self._news = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Whether there was news, within ``seconds`` at most, since the last call."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        self._news.clear()
        return True

    def tell(self) -> None:
        """There is news; may be called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)


class Feed:
    """The open streams. ``subscribe`` is called on an event loop, the rest from any thread."""

    def __init__(self, queue: Queue, data_dir: Path, most: int) -> None:
        """``most``: streams at a time."""
        self._queue = queue
        self._data_dir = data_dir
        self._most = most
        self._open: set[Subscription] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def require_room(self) -> None:
        """Check that one more stream can be opened.

        Raises:
            Problem: too many are open.
        """
        if self.count >= self._most:
            raise Problem(
                "too_many_streams",
                f"{self._most} event streams are open already; close some, or poll the job instead.",
                headers={"Retry-After": "10"},
            )

    @contextmanager
    def subscribe(self, job: str = "") -> Iterator[Subscription]:
        """News of a job, or of all where it is empty.

        Raises:
            Problem: too many streams are open.
        """
        self.require_room()
        subscription = Subscription(job, asyncio.get_running_loop())
        with self._lock:
            subscription.closed = self._closed.is_set()
            self._open.add(subscription)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._watch, name="lora-trainer-feed", daemon=True)
                self._thread.start()
        try:
            yield subscription
        finally:
            with self._lock:
                self._open.discard(subscription)

    def close(self) -> None:
        """End every stream."""
        self._closed.set()
        with self._lock:
            for subscription in self._open:
                subscription.closed = True
                subscription.tell()

    def _watch(self) -> None:
        """Look for news as long as someone waits for it."""
        seen: dict[str, int] = {}
        while not self._closed.wait(_POLL_SECONDS):
            with self._lock:
                waiting = list(self._open)
                if not waiting:
                    self._thread = None
                    return
            looks = {job: self._look(job) for job in {"", *(one.job for one in waiting)}}
            for one in waiting:
                # A change of any job may be one of this: streams look for themselves.
                if any(seen.get(job) != looks[job] for job in ("", one.job)):
                    one.tell()
            seen = looks

    def _look(self, job: str) -> int:
        """A number that grows with news: of the last change, or the size of a job's file of events."""
        try:
            if not job:
                return self._queue.newest_change()
            return (event_log.folder(self._data_dir, job) / event_log.NAME).stat().st_size
        except (OSError, sqlite3.OperationalError):
            return -1
