"""Files that were dropped on the page, taken into a folder of their own."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path

from .. import files
from ..file_name import cleaned
from ..images.kinds import HEAD
from ..images.skipped import Skipped
from ..parallel import Check, Progress
from . import archive
from .archive import Unpacked


def import_files(sources: Sequence[Path], into: Path, *, progress: Progress, check: Check) -> Unpacked:
    """Copy images and captions into ``into``, zips unpacked; a file that is there already is not stored twice.

    Raises:
        UserError: a zip cannot be taken.
    """
    names: list[str] = []
    skipped: list[Skipped] = []
    for done, path in enumerate(sources, 1):
        check()
        if path.suffix.lower() == ".zip":
            unpacked = archive.unpack(path, into, progress=progress, check=check)
            names += unpacked.names
            skipped += unpacked.skipped
        elif reason := archive.refusal(path.name, _head(path)):
            skipped.append(Skipped(path.name, reason))
        else:
            names.append(_copied(path, into))
        progress(done, len(sources), "files")
    return Unpacked(names, skipped)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _copied(path: Path, into: Path) -> str:
    """The file's name there: its own, or a numbered one where another file has it."""
    plain = Path(cleaned(path.name))
    target, number = into / plain, 2
    while target.exists() and not filecmp.cmp(path, target, shallow=False):
        target, number = into / f"{plain.stem}_{number}{plain.suffix}", number + 1
    if not target.exists():
        with files.replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    return target.name
