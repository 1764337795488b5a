"""What updates of a model leave for the next ones: which images were seen, trained on, held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files, json_text
from ..images import excluded
from ..library.model import Version
from ..preparation import intake

_SPLIT, _SEEN, _CONTENTS = "split.json", "seen.json", "contents.json"
# Beside a LoRA: the hashes of what was published from its folder.


@dataclass(frozen=True)
class Split:
    """What an update trains on, fixed before its first step.

    Attributes:
        trained: the content of every image that is trained on, by name; so of those ``held_out``.
        seen: the contents of all images that have been part of an update, this one included.
        init: file of the LoRA that the training starts from; empty for none.
        version: its number.
        captions: a hash of the captions and edits of ``trained``.
        counts: what became of the new images.
    """

    trained: dict[str, str]
    held_out: dict[str, str]
    seen: tuple[str, ...]
    init: str
    version: int | None
    captions: str
    counts: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """The contents of the images that the updates so far have looked at, and of those that the last one held out."""

    contents: tuple[str, ...]
    held_out: tuple[str, ...] = ()


def folder_in(home: Path) -> Path:
    """Where a model's record is, in its folder ``home``."""
    return home / "watch"


def read_split(run_folder: Path) -> Split | None:
    """What the update in this folder trains on; None where it has not come so far."""
    try:
        values = _read(run_folder / _SPLIT)
        return Split(**{**values, "seen": tuple(values["seen"])})
    except (OSError, ValueError, LookupError, TypeError):
        return None


def write_split(run_folder: Path, split: Split) -> None:
    """Write it down, before training."""
    files.write_text(run_folder / _SPLIT, json_text.dumps(asdict(split)))


def read_seen(home: Path) -> Seen | None:
    """What the updates so far have looked at; None before the first one."""
    try:
        values = _read(folder_in(home) / _SEEN)
        return Seen(tuple(values["contents"]), tuple(values["held_out"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def write_seen(home: Path, seen: Seen) -> None:
    """Write it down, after an update."""
    files.write_text(folder_in(home) / _SEEN, json_text.dumps(asdict(seen)))


def contents(home: Path, images: Path, names: Collection[str]) -> dict[str, str]:
    """SHA-256 (hex) of every image, by name; one that has not changed since the last time is not read again."""
    known = _known(home)
    found: dict[str, list[str]] = {}
    for name in names:
        stamp = intake.stamp(images / name)
        if stamp:
            before = known.get(name)
            found[name] = before if before is not None and before[0] == stamp else [stamp, _digest(images / name)]
    files.write_text(folder_in(home) / _CONTENTS, json_text.dumps(found))
    return {name: content for name, (_, content) in found.items()}


def stamps(home: Path) -> dict[str, str]:
    """The stamps (see ``intake.stamps``) of the images that :func:`contents` has looked at."""
    return {name: stamp for name, (stamp, _) in _known(home).items()}


def taken(home: Path) -> intake.Taken:
    """What has been taken from the watched folder."""
    return intake.Taken(folder_in(home) / "taken.json")


def pending(home: Path, images: Path, source: Path) -> dict[str, str]:
    """What the next update would find new in the model's folder and, where that is another, in the watched one.

    Returns:
        Stamps (see ``intake.stamps``) by path.

    Raises:
        UserError: the watched folder is not there.
    """
    known, unwanted = stamps(home), excluded.read(images)
    own = intake.stamps(images) if images.is_dir() else {}
    found = {
        str(images / name): stamp
        for name, stamp in own.items()
        if known.get(name) != stamp and name not in unwanted and not intake.is_zip(name)
    }
    if source.resolve() != images.resolve():
        new = taken(home).new(intake.stamps(source))
        found |= {str(source / name): stamp for name, stamp in new.items()}
    return found


def trained_on(version: Version | None, images: Path, known: Mapping[str, str]) -> set[str]:
    """Those of the contents ``known`` (by name) that a version was trained on.

    Of a version that no update has made only the time is known: images that were there before it was begun count.
    """
    if version is None:
        return set()
    split = read_split(Path(version.file).parent)
    if split is not None:
        # What was held out has been looked at, but not trained on; what came before may be in the LoRA still.
        return set(split.seen) - set(split.held_out.values())
    begun = version.created - float(version.facts.get("seconds") or 0)
    return {content for name, content in known.items() if _arrived(images / name) <= begun}


def _arrived(path: Path) -> float:
    """When the file came to be where it is, as far as that is known: a copy may keep the time of its content."""
    try:
        stat = path.stat()
    except OSError:
        return 0.0
    return max(stat.st_mtime, stat.st_ctime)


def _known(home: Path) -> dict[str, list[str]]:
    try:
        values = _read(folder_in(home) / _CONTENTS)
        return {name: [str(stamp), str(content)] for name, (stamp, content) in values.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no mapping")
    return values
