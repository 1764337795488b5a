"""What a crash becomes: a sentence for the user, and a file for whoever mends it."""

from __future__ import annotations

import traceback
from pathlib import Path

from . import files, memory


def sentence(error: Exception, details: Path | None) -> str:
    """What happened and what to do, in one sentence; ``details`` names the file that ``write`` wrote."""
    more = f"; the details are in {details}" if details else ""
    if memory.ran_out(error):
        return (
            "out of memory; lower batch_size or resolution, or set gradient_checkpointing: true, "
            f"then resume the run{more}."
        )
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}{more}."


def write(folder: Path) -> Path | None:
    """Keep the traceback of the exception being handled in ``folder``/crash.log, out of the user's sight.

    Returns:
        The file; None where the folder cannot be written, and the traceback went to stderr.
    """
    path = folder / "crash.log"
    try:
        files.write_text(path, traceback.format_exc())
    except OSError:
        traceback.print_exc()
        return None
    return path
