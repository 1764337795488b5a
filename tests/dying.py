"""The command line, killed by SIGKILL where a file is renamed to its final path.

``python -m tests.dying before|after PATTERN [options of train.py]``, or ``review`` or ``catalogue`` with their own:
before, when all is written and nothing renamed; after, when the file (or folder) has just appeared. PATTERN is matched
with the end of its path: ``state/step-*``.
"""

import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

from lora_scripts_ext.commands import catalogue, review, train


def dying(rename, when: str, pattern: str):
    """*rename* (``Path.rename`` or ``Path.replace``) that kills the process at the file that matches *pattern*."""

    def wrapped(self: Path, target: Path) -> Path:
        meant = fnmatch(Path(target).as_posix(), f"*/{pattern}")
        if meant and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = rename(self, target)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


if __name__ == "__main__":
    when, pattern, *arguments = sys.argv[1:]
    Path.rename = dying(Path.rename, when, pattern)
    Path.replace = dying(Path.replace, when, pattern)
    others = {"review": review.main, "catalogue": catalogue.main}
    command = others.get(arguments[0] if arguments else "")
    sys.exit(command(arguments[1:]) if command else train.main(arguments))
