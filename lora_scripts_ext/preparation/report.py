"""The quality report: a verdict for every image, advice for the dataset."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from .. import files
from ..images import decode, edited
from ..images.edit import UNEDITED, Edit
from ..images.excluded import HIDDEN
from ..images.skipped import Skipped
from ..parallel import Check, Progress, ahead
from . import advice, duplicates, verdict
from .advice import Settings
from .measure import Measures, measure
from .verdict import Reason, Verdict

_CACHE = "report.json"
# Folders of which is remembered what lies in them.
_FOLDERS = 8
_VERSION = 2
_HOW = {
    "same": "looks the same as",
    "turned": "is a turned copy of",
    "mirrored": "is a mirrored copy of",
}


@dataclass(frozen=True)
class Report:
    """What is known of a set.

    Attributes:
        verdicts: of every image, in the order of the names.
        advice: sentences on the images that are not bad.
        settings: what to train these with.
        kept: of images that look the same, the one to keep, and those that it stands for.
        skipped: files that cannot be trained on at all.
        without_caption: how many of the images have none.
        warnings: sentences on captions that are not used.
    """

    verdicts: tuple[Verdict, ...]
    advice: tuple[str, ...]
    settings: Settings
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    without_caption: int = 0
    warnings: tuple[str, ...] = ()

    def count(self, grade: str) -> int:
        """Images of a grade."""
        return sum(one.grade == grade for one in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """The report for a program."""
        return {
            "good": self.count("good"),
            "doubtful": self.count("doubtful"),
            "bad": self.count("bad"),
            "pictures": [
                {"name": one.name, "verdict": one.grade, "reasons": [asdict(reason) for reason in one.reasons]}
                for one in self.verdicts
            ],
            "duplicates": [{"kept": name, "copies": list(copies)} for name, copies in self.kept.items()],
            "skipped": [{"name": one.name, "reason": one.reason} for one in self.skipped],
            "without_caption": self.without_caption,
            "warnings": list(self.warnings),
            "advice": list(self.advice),
            "settings": asdict(self.settings),
        }


def report(
    folder: Path,
    names: Sequence[str],
    *,
    resolution: int,
    captions: Mapping[str, str],
    count_tokens: Callable[[str], int],
    longest: int,
    trigger: str = "",
    progress: Progress = lambda done, total, what: None,
    check: Check = lambda: None,
) -> Report:
    """Measure every image once, at reduced size; what was measured before is stored in the folder.

    Args:
        folder: of the images.
        names: relative to it.
        resolution: side in pixels that the base model was trained at.
        captions: by name; one that is missing or empty is a finding, unless all are.
        count_tokens: of a caption, as the text encoder counts.
        longest: as many of them are read.
        trigger: the trigger word.
        progress: called with done, total and "pictures".
        check: called between images; what it raises ends the work, what is measured stays.
    """
    results = _measured(folder, names, resolution, progress, check)
    copies = _copies({name: one for name, one in results.items() if isinstance(one, Measures)})
    return _judged(names, results, copies, resolution, captions, count_tokens, longest, trigger)


@dataclass(frozen=True)
class LastReport:
    """The report as the folder is now, as far as its images have been measured.

    Attributes:
        report: of the images that are trained on and have been measured.
        excluded: verdicts of measured images that are excluded.
        resolution: side in pixels of the last check.
    """

    report: Report
    excluded: tuple[Verdict, ...]
    resolution: int


def is_checked(folder: Path) -> bool:
    """Whether a check has left what it measured in the folder."""
    return (folder / HIDDEN / _CACHE).is_file()


def last_report(
    folder: Path,
    names: Sequence[str],
    excluded: Sequence[str],
    *,
    captions: Mapping[str, str],
    count_tokens: Callable[[str], int],
    longest: int,
    trigger: str = "",
) -> LastReport | None:
    """As ``report``, without measuring anything: images that are new or changed since the last one are left out.

    ``excluded`` are further images, which are not trained on. None where the folder has never been checked.
    """
    resolution, remembered = _as_left(folder)
    if not resolution:
        return None
    edits = edited.read(folder)
    known = {
        name: remembered[name]
        for name in (*names, *excluded)
        if name in remembered and remembered[name][0] == _stamp(folder / name, edits.get(name, UNEDITED))
    }
    results = {name: result for name, (_, result) in known.items()}
    # Sorted, so that one that is excluded changes nothing.
    measured = tuple(
        (name, known[name][0], one) for name in sorted(known) if isinstance(one := results[name], Measures)
    )
    everything = _copies_as_left(folder, measured)
    used = [name for name in names if name in known]
    copies = _copies_among(set(used), everything, results)
    result = _judged(used, results, copies, resolution, captions, count_tokens, longest, trigger)
    others = [name for name in excluded if name in known]
    # Of an image that is trained on, a better copy that is excluded is no fault; the other way round it is.
    unused = _judged(others, results, everything, resolution, captions, count_tokens, longest, trigger)
    return LastReport(result, unused.verdicts, resolution)


def _judged(
    names: Sequence[str],
    results: Mapping[str, Measures | str],
    copies: Mapping[str, tuple[str, Reason]],
    resolution: int,
    captions: Mapping[str, str],
    count_tokens: Callable[[str], int],
    longest: int,
    trigger: str,
) -> Report:
    """The report on ``names``, of which everything is known."""
    measured = {name: one for name in names if isinstance(one := results[name], Measures)}
    # Where nothing is captioned yet one warning for the dataset replaces one for each image.
    captioned = any(captions.get(name) for name in names)
    verdicts = []
    for name in names:
        one = results[name]
        if isinstance(one, str):
            verdicts.append(Verdict(name, (Reason("unreadable", "bad", one),)))
            continue
        reasons = [copies[name][1]] if name in copies else []
        reasons += verdict.of_image(one, resolution)
        reasons += verdict.of_caption(captions.get(name, ""), count_tokens, longest) if captioned else []
        verdicts.append(Verdict(name, tuple(reasons)))
    remaining = {one.name: measured[one.name] for one in verdicts if one.grade != "bad"}
    return Report(
        tuple(verdicts),
        tuple(advice.of_set(remaining, captions, trigger)),
        advice.settings(len(remaining)),
        _copies_by_original(copies),
    )


def _copies(measured: Mapping[str, Measures]) -> dict[str, tuple[str, Reason]]:
    """For each image that is like a better one: the one that is kept instead, and the finding."""
    names = sorted(measured, key=_original_first)
    return {
        names[other]: (names[kept], Reason("duplicate", "bad", f"{_HOW[how]} {names[kept]}"))
        for kept, other, how in duplicates.pairs([measured[name] for name in names])
    }


def _copies_among(
    chosen: Collection[str], copies: Mapping[str, tuple[str, Reason]], results: Mapping[str, Measures | str]
) -> dict[str, tuple[str, Reason]]:
    """The copies among the ``chosen`` images, by those among all: compared again only where one of them is missing."""
    among: dict[str, tuple[str, Reason]] = {}
    for kept, others in _copies_by_original(copies).items():
        group = [name for name in (kept, *others) if name in chosen]
        if len(group) == 1 + len(others):
            among |= {name: copies[name] for name in others}
        else:
            among |= _copies({name: one for name in sorted(group) if isinstance(one := results[name], Measures)})
    return among


def _original_first(name: str) -> tuple[int, str]:
    """What to sort names by: file managers and cameras make the name of a copy longer (``bell 2``, ``bell (1)``)."""
    return len(PurePosixPath(name).stem), name


def _copies_as_left(folder: Path, measured: tuple[tuple[str, str, Measures], ...]) -> Mapping[str, tuple[str, Reason]]:
    """As ``_copies``, of names with their stamps; what was found for a folder last is kept."""
    key = tuple((name, stamp) for name, stamp, _ in measured)
    with _LOCK:
        known = _FOUND.get(folder)
    if known is not None and known[0] == key:
        return known[1]
    results = {name: one for name, _, one in measured}
    # After an edit one image less is known of the folder.
    if known is not None and set(key) <= set(known[0]):
        return _copies_among(results, known[1], results)
    found = _copies(results)
    _keep(_FOUND, folder, (key, found))
    return found


def _as_left(folder: Path) -> tuple[int, Mapping[str, tuple[str, Measures | str]]]:
    """For which size images were measured, and each one's stamp and result; read again only when the file changes."""
    try:
        stat = (folder / HIDDEN / _CACHE).stat()
    except OSError:
        return 0, {}
    stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    with _LOCK:
        known = _LEFT.get(folder)
    if known is not None and known[0] == stamp:
        return known[1]
    resolution, remembered = _cached(folder)
    left = resolution, {name: (str(one["stamp"]), _result(one)) for name, one in remembered.items()}
    _keep(_LEFT, folder, (stamp, left))
    return left


_Value = TypeVar("_Value")
_LOCK = threading.Lock()
_LEFT: OrderedDict[Path, tuple[Any, tuple[int, Mapping[str, tuple[str, Measures | str]]]]] = OrderedDict()
_FOUND: OrderedDict[Path, tuple[Any, Mapping[str, tuple[str, Reason]]]] = OrderedDict()


def _keep(kept: OrderedDict[Path, _Value], folder: Path, value: _Value) -> None:
    with _LOCK:
        kept[folder] = value
        kept.move_to_end(folder)
        while len(kept) > _FOLDERS:
            kept.popitem(last=False)


def _copies_by_original(copies: Mapping[str, tuple[str, Reason]]) -> dict[str, tuple[str, ...]]:
    kept: dict[str, tuple[str, ...]] = {}
    for name, (better, _) in copies.items():
        kept[better] = (*kept.get(better, ()), name)
    return dict(sorted(kept.items()))


def _measured(
    folder: Path, names: Sequence[str], resolution: int, progress: Progress, check: Check
) -> dict[str, Measures | str]:
    """What is measured of each image, or why it cannot be."""
    remembered, edits = _remembered(folder, resolution), edited.read(folder)
    stamps: dict[str, str] = {}
    results: dict[str, Measures | str] = {}

    def measured_one(name: str) -> Measures | str:
        known = remembered.get(name)
        if known is not None and known["stamp"] == stamps[name]:
            return _result(known)
        try:
            return measure(folder / name, resolution, edits.get(name, UNEDITED))
        except decode.Unreadable as error:
            return str(error)

    def stamped(name: str) -> str:
        stamps[name] = _stamp(folder / name, edits.get(name, UNEDITED))
        return name

    try:
        for done, (name, one) in enumerate(zip(names, ahead(measured_one, map(stamped, names)), strict=True), 1):
            results[name] = one
            progress(done, len(names), "pictures")
            check()
    finally:
        # Excluded images are not looked at again, and what is known of them stays.
        others = {name: one for name, one in remembered.items() if name not in results and (folder / name).is_file()}
        _remember(folder, resolution, results, stamps, others)
    return results


def _stamp(path: Path, edit: Edit) -> str:
    """What changes with the file and with its edit."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}" + (f"-{edit.key()}" if edit != UNEDITED else "")


def _remembered(folder: Path, resolution: int) -> dict[str, dict[str, Any]]:
    """What was measured before; nothing where that is damaged or was for another size."""
    measured_at, remembered = _cached(folder)
    return remembered if measured_at == resolution else {}


def _cached(folder: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """For which size images were measured, and what; 0 where there is nothing, or it is damaged."""
    try:
        cached = json.loads((folder / HIDDEN / _CACHE).read_text(encoding="utf-8"))
        if cached["version"] != _VERSION:
            return 0, {}
        for one in cached["pictures"].values():
            one["stamp"], _result(one)
        return int(cached["resolution"]), cached["pictures"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, {}


def _result(known: Mapping[str, Any]) -> Measures | str:
    """What was measured of an image, or why that was not possible."""
    return str(known["reason"]) if "reason" in known else _from_json(known["measures"])


def _remember(
    folder: Path,
    resolution: int,
    results: Mapping[str, Measures | str],
    stamps: Mapping[str, str],
    others: Mapping[str, dict[str, Any]],
) -> None:
    images = {
        name: {"stamp": stamps[name], **({"reason": one} if isinstance(one, str) else {"measures": _to_json(one)})}
        for name, one in results.items()
    }
    cached = {"version": _VERSION, "resolution": resolution, "pictures": {**others, **images}}
    # A folder that cannot be written to is measured again each time.
    with contextlib.suppress(OSError):
        files.write_text(folder / HIDDEN / _CACHE, json.dumps(cached))


def _to_json(measured: Measures) -> dict[str, Any]:
    packed = {
        "thumbnail": base64.b64encode(measured.thumbnail.tobytes()).decode(),
        "edges": base64.b64encode(np.packbits(measured.edges).tobytes()).decode(),
    }
    return {**vars(measured), **packed}


def _from_json(values: Mapping[str, Any]) -> Measures:
    thumbnail = np.frombuffer(base64.b64decode(values["thumbnail"]), np.uint8)
    edges = np.unpackbits(np.frombuffer(base64.b64decode(values["edges"]), np.uint8)).astype(bool)
    side, map_side = round(thumbnail.size**0.5), round(edges.size**0.5)
    return Measures(**{
        **values, "border": tuple(values["border"]), "thumbnail": thumbnail.reshape(side, side),
        "edges": edges.reshape(map_side, map_side),
    })  # fmt: skip
