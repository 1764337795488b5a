"""Which process owns a file: process id, start time and machine, so that a reused process id is not mistaken for it."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        started: when it started, as text that is the same whenever it is read; empty where that cannot be read.
        host: name of its machine.
    """

    pid: int
    started: str
    host: str

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        return _of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The process with this id on this machine."""
        return cls(pid, _started(pid) or "", socket.gethostname())

    def alive(self) -> bool | None:
        """Whether the process still runs; None where that cannot be known, as on another machine."""
        if self.host != socket.gethostname() or not self.started:
            return None
        return _started(self.pid) == self.started

    def tag(self) -> str:
        """The owner as part of a file name, at most 29 characters; see :func:`tag_is_alive`."""
        return f"{_digest(self.host)}-{self.pid}-{_digest(self.started)}"


def tag_is_alive(tag: str) -> bool | None:
    """Whether the owner with this tag still runs; None where that cannot be known.

    Raises:
        ValueError: ``tag`` is not a tag.
    """
    host, pid, started = tag.split("-")
    if host != _digest(socket.gethostname()) or started == _digest(""):
        return None
    return _digest(_started(int(pid)) or "") == started


@functools.lru_cache(2)
def _of(pid: int) -> Owner:
    # A forked child has another process id, and so its own entry.
    return Owner.of(pid)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _started(pid: int) -> str | None:
    """When the process started; None where there is no such process, empty where that cannot be read."""
    if Path("/proc/self/stat").exists():
        return _started_on_linux(pid)
    try:
        import psutil
    except ImportError:
        return ""
    try:
        return f"{psutil.Process(pid).create_time():.3f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return ""


def _started_on_linux(pid: int) -> str | None:
    """Clock ticks since boot, and the boot id: unlike a date they do not change when the clock is set."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return ""
    # The name before it, in parentheses, may hold spaces and parentheses itself (proc(5), field 22).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else f"{boot}:{fields[19]}"
