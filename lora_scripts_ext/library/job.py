"""A job as the library holds it, and a process's claim on it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["queued", "starting", "running", "stopping", "done", "failed", "stopped", "cancelled"]
#: states of a job that a process owns
OWNED: tuple[State, ...] = ("starting", "running", "stopping")
#: states that only a person changes again
ENDED: tuple[State, ...] = ("done", "failed", "stopped", "cancelled")
StopRequest = Literal["", "stop", "cancel", "requeue"]


@dataclass(frozen=True)
class NewJob:
    """What is asked for.

    Attributes:
        config: what the kind of job takes; of ``train`` the keys of a training's YAML.
        name: what lists call it; empty for the name that its kind gives it.
        source: the file that the config was read from.
        runner: the kind of process that may run it; empty for any.
        model: id of the model that it works for.
        after: id of a job that must be done before.
        not_before: seconds since the epoch.
        window: times of day at which it may start, ``22:00-06:00``; empty for any.
        begun: continue from what an earlier run has left in ``output_dir``.
        note: what the user should know about how the config was read; empty for nothing.
        problem: a sentence about a config that cannot be used: the job is recorded as failed.
    """

    kind: str
    config: dict[str, Any]
    name: str = ""
    source: str = ""
    output_dir: str = ""
    runner: str = ""
    model: str | None = None
    after: str | None = None
    priority: int = 0
    not_before: float | None = None
    window: str = ""
    begun: bool = False
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Job:
    """A job of the library; see :class:`NewJob` for what it was given.

    Attributes:
        reason: why it is in this state, as a sentence; may be empty.
        position: among those of its priority the smallest comes first.
        fence: number of the newest attempt; results of older ones are refused.
        begun: whether an attempt got so far that the next one resumes.
        stop: what its process has been asked for.
        crashes: attempts in a row whose process ended while its worker lived, without getting further.
        deaths: the same where the worker ended, too.
        retry_at: not to be started again before, in seconds since the epoch.
        progress: how far it is, by the names of its events.
        result: what came of it.
    """

    id: str
    kind: str
    name: str
    state: State
    reason: str
    priority: int
    position: float
    config: dict[str, Any]
    source: str
    output_dir: str
    runner: str
    model: str | None
    after: str | None
    not_before: float | None
    window: str
    fence: int
    begun: bool
    stop: StopRequest
    crashes: int
    deaths: int
    retry_at: float | None
    progress: dict[str, Any]
    result: dict[str, Any]
    created: float
    changed: float

    @classmethod
    def of(cls, row: sqlite3.Row) -> Job:
        """The job in a row of the table ``jobs``."""
        values = dict(row)
        for key in ("config", "progress", "result"):
            values[key] = json.loads(values[key])
        return cls(**{**values, "begun": bool(values["begun"])})

    @property
    def ended(self) -> bool:
        """Whether only a person changes its state again."""
        return self.state in ENDED


@dataclass(frozen=True)
class Claim:
    """A process's right to run a job, for as long as no later attempt has begun."""

    job: Job
    fence: int
    lane: str


@dataclass(frozen=True)
class Change:
    """A job's step to another state; ``at`` in seconds since the epoch."""

    seq: int
    job: str
    at: float
    state: State
    reason: str


@dataclass(frozen=True)
class Attempt:
    """One try at a job.

    Attributes:
        lane: the device it runs on, of which machine.
        beat: grows while its process lives.
        best_step: the furthest it got.
        outcome: the state it ended with, ``requeued``, or empty while it runs.
    """

    id: int
    job: str
    fence: int
    lane: str
    pid: int
    pid_started: str
    host: str
    beat: int
    best_step: int
    started: float
    ended: float | None
    outcome: str
    reason: str


@dataclass(frozen=True)
class Page:
    """Some jobs, and where the next ones begin; None after the last."""

    jobs: list[Job]
    next: str | None = field(default=None)
