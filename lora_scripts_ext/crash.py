"""An unexpected error: a sentence for the user, and the traceback in a file."""

from __future__ import annotations

import errno
import re
import traceback
from pathlib import Path

from . import files, memory

# Windows has no quota error.
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
# Linux and macOS, the quota of either, Windows.
_FULL_IN_RUST = re.compile(r"\(os error (28|122|69|112)\)")


def sentence(error: Exception, details: Path | None) -> str:
    """What happened and what to do, in one sentence; ``details`` names the file that ``write`` wrote."""
    more = f"; the details are in {details}" if details else ""
    if memory.ran_out(error):
        return (
            "out of memory; set gradient_checkpointing: true or fp8_base: true and resume the run, or start again with "
            f"a smaller resolution{more}."
        )
    if disk_is_full(error):
        return f"the disk is full; free some space, then resume the run{more}."
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}{more}."


def disk_is_full(error: BaseException) -> bool:
    """Whether the disk is full; safetensors says so in the text of an error of its own."""
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    return type(error).__name__ == "SafetensorError" and _FULL_IN_RUST.search(str(error)) is not None


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
