"""The contract of a kind of job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome


@dataclass(frozen=True)
class Plan:
    """A config that can be queued.

    Attributes:
        name: what a list calls the job.
        config: complete, with absolute paths.
        output_dir: absolute; two jobs never write into one at a time. Empty where the job's own folder is enough.
        notes: what the user should know about how it was read.
    """

    name: str
    config: dict[str, Any]
    output_dir: str = ""
    notes: tuple[str, ...] = ()


class Kind(ABC):
    """A kind of job.

    Attributes:
        name: by which it is asked for.
        lane: whether it needs the ``device`` (one job at a time), or only ``files``.
        reads: the config's keys of the files and folders that it reads; None where it works on the library itself, so
            that it only runs where that is.
        writes: those that it changes.
        caches: the key of a folder of what can be computed again; empty where there is none.
    """

    name: ClassVar[str]
    lane: ClassVar[Literal["device", "files"]]
    reads: ClassVar[tuple[str, ...] | None] = None
    writes: ClassVar[tuple[str, ...]] = ()
    caches: ClassVar[str] = ""

    @abstractmethod
    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check ``config`` before it is queued; ``where`` names its origin in errors. No image is looked at.

        Raises:
            UserError: it cannot be used.
        """

    @abstractmethod
    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Do the job.

        Raises:
            UserError: the input is wrong.
            TrainingError: the work failed.
            LeaseLost: another attempt has taken over.
        """


class Stopped(Exception):
    """The job was asked to stop, and has saved what it has."""


def stop_check(execution: Execution) -> None:
    """To be called between two images.

    Raises:
        Stopped: the job should end.
    """
    if execution.should_stop():
        raise Stopped


def absolute(path: str, environment: Environment) -> str:
    """A path of a config as the library keeps it: it must not depend on where a worker stands."""
    return str(environment.readable(path)) if path else ""


def folder_name(path: str) -> str:
    """What a list calls a job on this folder."""
    return Path(path).name or path
