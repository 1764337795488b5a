"""New images taken from the folder that they arrive in into the folder that is trained on."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .. import files, json_text
from ..captions.store import CaptionStore
from ..errors import UserError
from ..file_name import cleaned
from ..images import folder as folders
from ..images.excluded import HIDDEN
from ..images.skipped import Skipped
from ..parallel import Check, Progress
from . import archive

_LOOK_SECONDS = 1.0
_clock = time.monotonic


def stamps(folder: Path) -> dict[str, str]:
    """The images and zips below ``folder`` by name, each with what changes when it is written to.

    Empty files and what programs name downloads that are not complete (``.part``, ``.crdownload``) are not among them.

    Raises:
        UserError: it is no folder.
    """
    names, _ = folders.scan(folder, "folder")
    found = {name: stamp(folder / name) for name in [*names, *_zips(folder)]}
    return {name: one for name, one in sorted(found.items()) if one}


class Settling:
    """Which files have stopped changing for a while, by a clock that no one sets; those of other machines and the
    system's own do not matter."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[str, tuple[str, float]] = {}

    def settled(self, now: Mapping[str, str]) -> dict[str, str]:
        """Those of ``now`` (see :func:`stamps`) that have been the same for so long, as far as has been looked."""
        at = _clock()
        self._seen = {
            name: before if (before := self._seen.get(name)) is not None and before[0] == stamp else (stamp, at)
            for name, stamp in now.items()
        }
        return {name: stamp for name, (stamp, since) in self._seen.items() if at - since >= self._seconds}


def settled(look: Callable[[], Mapping[str, str]], seconds: float, check: Check) -> dict[str, str]:
    """Those of the files that ``look`` gives (see :func:`stamps`) that do not change for ``seconds``."""
    settling = Settling(seconds)
    settling.settled(look())
    until = _clock() + seconds
    while (left := until - _clock()) > 0:
        check()
        time.sleep(min(_LOOK_SECONDS, left))
        settling.settled(look())
    return settling.settled(look())


class Taken:
    """What has been taken already, by name with its stamp: a file that is changed later is taken again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))["taken"]
            self._stamps = {str(name): str(stamp) for name, stamp in stored.items()}
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            # Without it everything is looked at again; what is there already is not stored twice.
            self._stamps = {}

    def new(self, found: Mapping[str, str]) -> dict[str, str]:
        """Those that have not been taken."""
        return {name: stamp for name, stamp in found.items() if self._stamps.get(name) != stamp}

    def add(self, found: Mapping[str, str]) -> None:
        """These have been taken, or never will be."""
        self._stamps |= found
        files.write_text(self._path, json_text.dumps({"taken": self._stamps}))


@dataclass
class Intake:
    """What was taken in: names in the folder that is trained on, and what was not taken, with the reason."""

    names: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def take_in(
    source: Path, into: Path, new: Mapping[str, str], taken: Taken, *, progress: Progress, check: Check
) -> Intake:
    """Copy the images ``new`` of ``source``, with their captions, into ``into``; zips are unpacked.

    Sub-folders stay, as their names may be captions. An image that is there already is not stored twice, another one of
    its name gets a number. Whatever ends this, calling it again goes on.

    Raises:
        UserError: a file of captions cannot be read.
    """
    result = Intake()
    zips = [name for name in new if is_zip(name)]
    images = [name for name in new if not is_zip(name)]
    copies = _copy(source, into, images, progress, check)
    result.names += copies.values()
    _take_captions(source, into, copies)
    taken.add({name: new[name] for name in images})
    for name in zips:
        _take_zip(source / name, into, result, progress, check)
        taken.add({name: new[name]})
    return result


def _take_zip(path: Path, into: Path, result: Intake, progress: Progress, check: Check) -> None:
    digest = hashlib.sha256(f"{path}:{stamp(path)}".encode("utf-8", "surrogatepass")).hexdigest()
    unpacked = into / HIDDEN / f"unpacked-{digest[:16]}"
    try:
        inside = archive.unpack(path, unpacked, progress=progress, check=check)
        result.skipped += inside.skipped
        names, skipped = folders.scan(unpacked, "folder")
        copies = _copy(unpacked, into, names, progress, check)
        _take_captions(unpacked, into, copies)
        result.names += copies.values()
        result.skipped += skipped
    except UserError as error:
        result.skipped.append(Skipped(path.name, f"cannot be taken: {error}"))
    shutil.rmtree(unpacked, ignore_errors=True)


def _copy(source: Path, into: Path, names: list[str], progress: Progress, check: Check) -> dict[str, str]:
    """Copy images; returns the name there of each."""
    copies = {}
    for done, name in enumerate(names, 1):
        check()
        copies[name] = _copied(source / name, into, PurePosixPath(*map(cleaned, PurePosixPath(name).parts)))
        progress(done, len(names), "pictures")
    return copies


def _copied(path: Path, into: Path, plain: PurePosixPath) -> str:
    """The image's name there: its own, or a numbered one where another image has it."""
    target, number = plain, 2
    while (into / target).exists() and not filecmp.cmp(path, into / target, shallow=False):
        target, number = plain.with_name(f"{plain.stem}_{number}{plain.suffix}"), number + 1
    if not (into / target).exists():
        files.copy(path, into / target)
    return target.as_posix()


def _take_captions(source: Path, into: Path, copies: Mapping[str, str]) -> None:
    """What the images are captioned with where they came from; a caption that is there already stays."""
    theirs = CaptionStore.open(source)
    captions = {copies[name]: theirs.entry(name).prompt for name in theirs.names if name in copies}
    if not any(captions.values()):
        return
    ours = CaptionStore.open(into)
    for name, caption in captions.items():
        if caption and name in ours.names and not ours.entry(name).prompt:
            ours.put(name, caption)
    ours.save()


def _zips(folder: Path) -> list[str]:
    found = []
    for here, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".") and name not in folders.SYSTEM_FOLDERS]
        found += [(Path(here) / name).relative_to(folder).as_posix() for name in names if is_zip(name)]
    return found


def is_zip(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(".zip") and not name.rpartition("/")[2].startswith(".")


def stamp(path: Path) -> str:
    """Size and time of the last change; empty for an empty file, and for one that has gone."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}" if stat.st_size else ""
