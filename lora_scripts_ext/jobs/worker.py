"""Takes jobs from the queue and has them run, one a lane, until it is stopped or nothing is left."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence

from ..library.job import Attempt, Claim, Job
from ..library.queue import Queue
from ..owner import Owner
from . import lanes
from .launcher import Launcher, Running

_POLL_SECONDS = 0.5
_RECOVER_SECONDS = 2.0
# How long an owner on another machine, which cannot be looked up, may be silent.
_SILENT_SECONDS = 120.0
_GRACE_SECONDS = 600.0
_START_PAUSE = 30.0


class Worker:
    """Runs the jobs of a library. ``wake`` and ``stop`` may be called from any thread."""

    def __init__(
        self,
        queue: Queue,
        launcher: Launcher,
        lane_names: Sequence[str],
        *,
        runner: str,
        may_start: Callable[[Job], str] = lambda job: "",
        not_yet: Callable[[Job], str] = lambda job: "",
        on_tick: Callable[[], None] = lambda: None,
        on_error: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Create a worker that does nothing yet.

        Args:
            queue: of the library.
            launcher: starts the jobs.
            lane_names: where it may start jobs.
            runner: its kind, which a job may ask for.
            may_start: why a job may not be started at this moment, as a sentence; empty where it may.
            not_yet: the same, of what passes by itself, so that it is waited for also by ``run(until_empty=True)``.
            on_tick: called after every look at the queue.
            on_error: called with a sentence where the library cannot be read or written.
        """
        self._queue = queue
        self._launcher = launcher
        self._lanes = tuple(lane_names)
        self._runner = runner
        self._may_start = may_start
        self._not_yet = not_yet
        self._on_tick = on_tick
        self._on_error = on_error
        self._running: dict[str, tuple[Claim, Running]] = {}
        self._is_dead = Deaths()
        self._recovered_at = -math.inf
        self._stop = threading.Event()
        self._wake = threading.Event()

    def run(self, *, until_empty: bool = False) -> None:
        """Work until stopped; with ``until_empty`` until no job is left that can run here without a person's doing."""
        while not self._stop.is_set():
            try:
                self.tick()
                self._on_tick()
                if until_empty and not self._running and self._is_settled():
                    return
            except sqlite3.OperationalError as error:
                self._on_error(f"The library cannot be used for the moment ({error}); trying again.")
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()

    def wake(self) -> None:
        """Look into the queue at once."""
        self._wake.set()

    def stop(self) -> None:
        """Start nothing any more; ``run`` returns."""
        self._stop.set()
        self._wake.set()

    def use(self, lane_names: Sequence[str]) -> None:
        """From now on start jobs in these lanes; what runs in others goes on there. Called from ``on_tick``."""
        self._lanes = tuple(lane_names)

    def give_back(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Let every running job save and go back into the queue; ``hurry``: kill those that are left."""
        for _, running in self._running.values():
            running.give_back()
        until = time.monotonic() + _GRACE_SECONDS
        while self._reap() and time.monotonic() < until and not hurry():
            time.sleep(_POLL_SECONDS / 5)
        for _, running in self._running.values():
            running.kill()

    def tick(self) -> None:
        """One look: at what has ended, at what others left behind, at what may start."""
        self._reap()
        if time.monotonic() - self._recovered_at >= _RECOVER_SECONDS:
            self.recover()
        for lane in self._lanes:
            if lane not in self._running:
                self._start(lane)

    def recover(self) -> None:
        """Put jobs whose owners are dead back into the queue."""
        self._queue.recover(self._is_dead)
        self._recovered_at = time.monotonic()

    def _is_settled(self) -> bool:
        def mine(job: Job) -> bool:
            return job.runner in ("", self._runner) and not self._may_start(job)

        return self._queue.paused() or self._queue.is_settled(mine)

    def _start(self, lane: str) -> None:
        obstacles: dict[str, str] = {}

        def accepts(job: Job) -> bool:
            if job.runner not in ("", self._runner) or not lanes.accepts(lane, job):
                return False
            obstacle = self._may_start(job) or self._not_yet(job)
            if obstacle != job.reason:
                obstacles[job.id] = obstacle
            return not obstacle

        claim = self._queue.claim(lane, Owner.current(), accepts)
        self._queue.note(obstacles)
        if claim is None:
            return
        try:
            self._running[lane] = (claim, self._launcher.start(claim))
        except OSError as error:
            # No memory for a process, or a full disk: a job that was claimed must not be left to no one.
            self._queue.interrupted(claim, f"It could not be started ({error.strerror}).", _START_PAUSE)

    def _reap(self) -> bool:
        """Forget what has ended; returns whether something still runs."""
        for lane, (claim, running) in list(self._running.items()):
            death = running.death()
            if death is not None:
                # One that ended in order has left the job's end in the library: then this changes nothing.
                self._queue.died(claim, death or "Its process ended without a result.")
                del self._running[lane]
        return bool(self._running)


class Deaths:
    """Which attempts have lost their owner: by the machine's table of processes; for another machine, where that cannot
    be looked up, by a heartbeat that stays the same, measured with a clock that no one sets."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def __call__(self, attempt: Attempt) -> bool:
        """Whether its owner is dead."""
        alive = Owner(attempt.pid, attempt.pid_started, attempt.host).alive()
        if alive is not None:
            return not alive
        now = time.monotonic()
        beat, since = self._seen.get(attempt.id, (-1, now))
        if beat != attempt.beat:
            self._seen[attempt.id] = (attempt.beat, now)
            return False
        return now - since > _SILENT_SECONDS
