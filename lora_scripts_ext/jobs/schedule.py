"""When the workers of a library let jobs begin, as its settings say."""

from __future__ import annotations

import time

from ..library import window
from ..library.database import Database
from ..library.job import OWNED, Job
from ..library.models import TRAINING
from ..library.queue import Queue
from .settings import AT_THE_TIME, WAITS, LibrarySettings

_READ_SECONDS = 0.5


class Schedule:
    """Asked by a worker, in its own thread."""

    def __init__(self, database: Database) -> None:
        self._settings = LibrarySettings(database)
        self._window = ""
        self._read_at: float | None = None

    def waits_for(self, job: Job) -> str:
        """Why a job may not begin yet, as a sentence; empty where it may."""
        if job.kind not in TRAINING or job.window:
            return ""
        text = self._current()
        if not text or window.is_open(text, time.time()):
            return ""
        return f"Waits for its time of day, {text}, as the settings say."

    def after_restart(self, queue: Queue) -> None:
        """Pause the queue if it is to wait now: something is queued, and no other worker is at it."""
        counts = queue.counts()
        waits = counts.get("queued") and not any(counts.get(state) for state in OWNED)
        if waits and self._settings.get("restart") == WAITS:
            queue.pause(True)

    def _current(self) -> str:
        """The times of day at which trainings begin; empty for any."""
        # Asked for every job that waits, several times a second.
        now = time.monotonic()
        if self._read_at is None or now - self._read_at > _READ_SECONDS:
            at_the_time = self._settings.get("start") == AT_THE_TIME
            self._window = self._settings.get("start_window") if at_the_time else ""
            self._read_at = now
        return self._window
