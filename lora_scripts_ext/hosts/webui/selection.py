"""Whether the checkpoint that a run was started for is still the selected one when the run begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError


@dataclass(frozen=True)
class Stamp:
    """A file's real path, size in bytes and modification time in ns: what tells another file of the same name."""

    path: str
    size: int
    changed: int


#: stamps of the checkpoints that the WebUI has in memory, by path, as they were when it read them
_loaded: dict[str, Stamp] = {}
_newest: tuple[int, str] | None = None


def note_loaded(model: object, path: str) -> None:
    """The WebUI says that it has loaded ``path`` into ``model``; it says so for a new VAE, too."""
    global _newest
    if _newest != (id(model), path):
        _newest = (id(model), path)
        stamp = _stamp(path)
        _loaded[stamp.path] = stamp


def stamps(paths: Sequence[str]) -> tuple[Stamp, ...]:
    """The files as the WebUI has them in memory, else as they are on the disk."""
    return tuple(_loaded.get(os.path.realpath(path)) or _stamp(path) for path in paths)


def require(requested: str, chosen: Sequence[str], before: tuple[Stamp, ...]) -> None:
    """Let a run begin whose turn has come.

    Args:
        requested: the checkpoint that the run was started for.
        chosen: the checkpoint that the WebUI would draw with now, and the files chosen beside it.
        before: the stamps of what was chosen when the run was started.

    Raises:
        UserError: another checkpoint is chosen now, or a file is no longer what it was.
    """
    name = Path(requested).name
    if os.path.realpath(requested) != os.path.realpath(chosen[0]):
        raise UserError(
            f"The run was started for {name}, but the WebUI's checkpoint is now {Path(chosen[0]).name}; choose {name} "
            "at the top of the page again, or start a new run for the other one."
        )
    now = tuple(map(_stamp, chosen))
    if before and before[0].path == now[0].path and before != now:
        raise UserError(
            f"{name}, or a VAE or text encoder chosen beside it, is no longer the file that the WebUI had when the run "
            "was started; choose another checkpoint and then this one, so that it is loaded again, and start a new run."
        )


def _stamp(path: str) -> Stamp:
    """The file as it is on the disk; of size -1 where it cannot be looked at."""
    real = os.path.realpath(path)
    try:
        status = Path(real).stat()
    except OSError:
        return Stamp(real, -1, 0)
    return Stamp(real, status.st_size, status.st_mtime_ns)
