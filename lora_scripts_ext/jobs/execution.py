"""One attempt at a job by this process: its heartbeat, its events, what it is asked to do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import UserError
from ..library.job import Claim, StopRequest
from ..library.queue import LeaseLost
from . import event_log
from .records import Records
from .report import Report

_BEAT_SECONDS = 1.0


class Execution:
    """A context that keeps the claimed job alive; ``report`` and ``should_stop`` may be called from any thread."""

    def __init__(
        self,
        queue: Records,
        claim: Claim,
        data_dir: Path,
        *,
        listen: Callable[[dict[str, Any]], None] = lambda event: None,
    ) -> None:
        """``listen`` is called with every event, in the job's thread."""
        self.claim = claim
        self.folder = event_log.folder(data_dir, claim.job.id)
        self._queue = queue
        self._listen = listen
        self._report = Report()
        self._begun = claim.job.begun
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stop: StopRequest = ""
        self._lost = False
        self._heart = threading.Thread(target=self._keep_beating, name=f"lora-trainer-{claim.job.id}", daemon=True)
        self._events: event_log.Writer | None = None

    def __enter__(self) -> Execution:
        self._events = event_log.Writer(self.folder / event_log.NAME, self.claim.fence)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._heart.join()
        if self._events is not None:
            self._events.close()

    @property
    def request(self) -> StopRequest:
        """What the job has been asked for: nothing, to stop, to be cancelled, to go back into the queue."""
        return self._stop

    def report(self, event: dict[str, Any]) -> None:
        """Write an event to the job's file, and let the library know how far the job is."""
        if self._events is None:
            raise RuntimeError("report() before the execution was entered")
        self._listen(event)
        with self._lock:
            self._events.write(event)
            self._report.add(event)
        if event["event"] == "start" and not self._begun:
            with suppress(LeaseLost):
                self._queue.begun(self.claim)
                self._begun = True

    def progress(self, done: int, total: int, what: str) -> None:
        """Report how much of the work is done, for jobs other than training."""
        self.report({"event": "work", "done": done, "total": total, "what": what})

    def should_stop(self) -> bool:
        """Whether the job should save and end: it has been asked to, or another attempt has taken over."""
        return bool(self._stop) or self._lost

    def stop(self) -> None:
        """Ask the job to save and end, as its user wants it."""
        self._stop = self._stop or "stop"

    def give_back(self) -> None:
        """Ask the job to save and go back into the queue: its process is about to end."""
        self._stop = self._stop or "requeue"

    def require_lease(self) -> None:
        """To be called before anything is published.

        Raises:
            LeaseLost: another attempt at the job has begun.
        """
        if self._lost or not self._queue.holds(self.claim):
            raise LeaseLost(f"Attempt {self.claim.fence} at job {self.claim.job.id} is over; nothing is published.")

    def snapshot(self) -> dict[str, Any]:
        """The report so far, with its curve, ready for JSON."""
        with self._lock:
            return self._report.to_dict()

    def _keep_beating(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        with self._lock:
            progress, step = dict(self._report.progress), self._report.step
        try:
            request = self._queue.beat(self.claim, progress, step)
            self._stop = request or self._stop
        except LeaseLost:
            self._lost = True
        except (sqlite3.OperationalError, UserError):
            # A full disk, or another process in the way for long: the next beat tries again, and as long as the
            # process lives no one takes its job.
            return
