"""An unexpected error: a sentence for the user, and the traceback in a file."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from . import files, memory

# Windows has no quota error.
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def sentence(error: Exception, details: Path | None) -> str:
    """What happened and what to do, in one sentence; ``details`` names the file that ``write`` wrote."""
    more = f"; the details are in {details}" if details else ""
    if memory.ran_out(error):
        return (
            "out of memory; set gradient_checkpointing: true or fp8_base: true and resume the run, or start again with "
            f"a smaller resolution{more}."
        )
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"the disk is full; free some space, then resume the run{more}."
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}{more}."


def write(folder: Path) -> Path | None:
    """Write the traceback of the exception being handled to ``folder``/crash.log.

    Returns:
        The file; None where it could not be written, and the traceback went to stderr.
    """
    path = folder / "crash.log"
    try:
        files.write_bytes(path, traceback.format_exc().encode("utf-8", "backslashreplace"))
    except OSError:
        traceback.print_exc()
        return None
    return path
