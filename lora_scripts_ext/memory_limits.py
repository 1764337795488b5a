"""How many bytes this process can still allocate: of the machine, its container and its own limits, without swap.

Where a container or ``ulimit`` allows less than the machine has, the kernel kills what exceeds it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def available(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """The least of what the machine, the cgroups and the limits of this process leave; None where none is known."""
    limits = [_of_the_machine(proc), *_of_cgroups(proc / "self" / "cgroup", cgroups), *_of_limits(proc)]
    known = [count for count in limits if count is not None]
    return max(0, min(known)) if known else None


def resident() -> int:
    """Bytes of this process that are in memory now; 0 where unknown."""
    size = kilobytes(_PROC / "self" / "status", "VmRSS")
    if size is not None:
        return size
    try:
        import psutil
    except ImportError:
        return 0
    return psutil.Process().memory_info().rss


def gigabytes(count: int) -> str:
    """Bytes as text, in GiB or MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def kilobytes(table: Path, name: str) -> int | None:
    """Bytes of a line ``Name:  123 kB``, as in ``/proc/meminfo``; None where there is no such file or line."""
    for line in _lines(table):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _of_the_machine(proc: Path) -> int | None:
    size = kilobytes(proc / "meminfo", "MemAvailable")
    if size is not None:
        return size
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().available


def _of_cgroups(own: Path, root: Path) -> Iterator[int | None]:
    """What is left in each cgroup above this process, of either version.

    Inside a container the path may be the one of the machine, of which only the last folder is mounted.
    """
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage = root, "memory.max", "memory.current"
            if not (base / "cgroup.controllers").exists() and (root / "unified").is_dir():
                base = root / "unified"
        elif "memory" in controllers.split(","):
            base, limit, usage = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inside = path.strip("/")
        parts = inside.split("/") if inside else []
        for depth in range(len(parts), -1, -1):
            yield _left(base.joinpath(*parts[:depth]), limit, usage)


def _left(folder: Path, limit: str, usage: str) -> int | None:
    most, used = _number(folder / limit), _number(folder / usage)
    if most is None or used is None:
        return None
    fields = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat"))
    prefix = "total_" if "total_inactive_file" in fields else ""
    reclaimed = sum(int(fields.get(prefix + name, 0)) for name in ("inactive_file", "active_file"))
    return most - max(0, used - reclaimed)


def _of_limits(proc: Path) -> list[int]:
    """What ``ulimit -v`` and ``ulimit -d`` leave."""
    left: list[int] = []
    if sys.platform != "win32":
        import resource

        for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most = resource.getrlimit(limit)[0]
            taken = kilobytes(proc / "self" / "status", used)
            if most != resource.RLIM_INFINITY and taken is not None:
                left.append(most - taken)
    return left


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none, or it is ``max``."""
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
