"""How a claimed job is started: in a thread of this process, or in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from .. import files
from ..library.job import Claim
from ..library.queue import Queue
from . import event_log
from .environment import Environment
from .execution import Execution
from .perform import perform

_TURN_SECONDS = 0.0005
_PACKAGES = Path(__file__).resolve().parents[2]


class Running(Protocol):
    """A job that has been started."""

    def death(self) -> str | None:
        """None while it runs; afterwards how its process ended, as a sentence: empty where that was in order."""

    def give_back(self) -> None:
        """Ask it to save and go back into the queue."""

    def kill(self) -> None:
        """End it at once, if that can be done; its last state is kept."""


class Launcher(Protocol):
    """Starts jobs."""

    def start(self, claim: Claim) -> Running:
        """Start a claimed job."""


class ProcessLauncher:
    """A process for each job: one that crashes takes nothing with it, and the device's memory is free afterwards."""

    def __init__(self, data_dir: Path, niceness: int = 0) -> None:
        """``niceness``: how much a job's process steps back where processors are scarce, 0 to 19; not on Windows."""
        self._data_dir = data_dir
        self._niceness = niceness

    def start(self, claim: Claim) -> Running:
        """See :meth:`Launcher.start`."""
        folder = event_log.folder(self._data_dir, claim.job.id)
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "lora_scripts_ext.jobs.process",
            str(self._data_dir.resolve()), claim.job.id, str(claim.fence), claim.lane,
        ]  # fmt: skip
        with files.appending(folder / "output.log") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=_environment(claim)
            )
        self._step_back(process)
        return _Process(process)

    def _step_back(self, process: subprocess.Popen[bytes]) -> None:
        if self._niceness and hasattr(os, "setpriority"):
            # It may have ended already.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, self._niceness)


class _Process:
    """A job in a process of its own, which gives the job back when its standard input ends: so it also does when the
    worker is killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def death(self) -> str | None:
        """See :meth:`Running.death`."""
        code = self._process.poll()
        if code is None:
            return None
        self.give_back()
        if code == 0:
            return ""
        return f"Its process was killed by signal {-code}." if code < 0 else f"Its process ended with exit code {code}."

    def give_back(self) -> None:
        """See :meth:`Running.give_back`."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def kill(self) -> None:
        """See :meth:`Running.kill`."""
        self._process.kill()
        self._process.wait()


class ThreadLauncher:
    """Jobs in this process, which holds the model: inside a WebUI."""

    def __init__(
        self,
        queue: Queue,
        environment: Environment,
        listen: Callable[[dict[str, Any]], None] = lambda event: None,
    ) -> None:
        """``listen`` is called with every event of every job, in its thread."""
        self._queue = queue
        self._environment = environment
        self._listen = listen

    def start(self, claim: Claim) -> Running:
        """See :meth:`Launcher.start`."""
        execution = Execution(self._queue, claim, self._environment.data_dir, listen=self._listen)
        return _Thread(self._queue, execution, self._environment)


class _Thread:
    """A job in a thread."""

    def __init__(self, queue: Queue, execution: Execution, environment: Environment) -> None:
        self.execution = execution
        self._queue = queue
        self._environment = environment
        self._thread = threading.Thread(target=self._work, name=f"job {execution.claim.job.name}", daemon=True)
        self._death = ""
        self._thread.start()

    def death(self) -> str | None:
        """See :meth:`Running.death`."""
        return None if self._thread.is_alive() else self._death

    def give_back(self) -> None:
        """See :meth:`Running.give_back`."""
        self.execution.give_back()

    def kill(self) -> None:
        """A thread cannot be killed: it ends after its current step."""
        self.execution.give_back()

    def _work(self) -> None:
        try:
            with _others_answering(), self.execution:
                perform(self._queue, self.execution, self._environment)
        except Exception as error:  # noqa: BLE001 - the thread's last words
            self._death = f"{type(error).__name__}: {error}"


@contextmanager
def _others_answering() -> Iterator[None]:
    """Python's threads take turns more often within this context: a step of a training consists of many short calls,
    between which whoever answers a request would wait for its turn each time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _environment(claim: Claim) -> dict[str, str]:
    """The environment variables of a job's process: it finds this package, and sees the device of its lane alone."""
    paths = [str(_PACKAGES), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    device = claim.lane.rpartition(" ")[2]
    if device.startswith("cuda:") and claim.job.config.get("device", "auto") in ("auto", "cuda"):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        number = int(device.removeprefix("cuda:"))
        environment["CUDA_VISIBLE_DEVICES"] = visible[number] if number < len(visible) and visible[0] else str(number)
    return environment
