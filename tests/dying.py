"""The command line, dying by SIGKILL where a file is put in its place.

``python -m tests.dying before|after PATTERN [options of train.py]``: before, when all is written and nothing renamed;
after, when the file (or folder) has just appeared. PATTERN is matched with the end of its path: ``state/step-*``.
"""

import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

from lora_scripts_ext.commands import train


def dying(put_in_place, moment: str, pattern: str):
    """*put_in_place* (``Path.rename`` or ``Path.replace``) that does not survive the file it is about."""

    def wrapped(self: Path, target: Path) -> Path:
        meant = fnmatch(Path(target).as_posix(), f"*/{pattern}")
        if meant and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        placed = put_in_place(self, target)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return placed

    return wrapped


if __name__ == "__main__":
    moment, pattern, *arguments = sys.argv[1:]
    Path.rename = dying(Path.rename, moment, pattern)
    Path.replace = dying(Path.replace, moment, pattern)
    sys.exit(train.main(arguments))
