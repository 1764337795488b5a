"""The images of a folder as they are now: captions, edits, what is excluded, and the verdicts of the last check."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..captions import editing
from ..captions.history import Place
from ..captions.store import FIELDS, CaptionStore, Entry
from ..dataset.source import folder_meaning
from ..errors import NotFound, UserError
from ..images import decode, edit, edited, excluded, folder
from ..images.bucket import Size
from ..images.edit import UNEDITED, Edit
from ..images.excluded import HIDDEN
from ..images.exclusive import changing
from ..images.skipped import Skipped
from .report import LastReport, is_checked, last_report
from .verdict import Verdict

_FOLDERS = 16
_SIZES = 20_000
_COUNTS = 20_000
Show = Literal["all", "included", "excluded", "good", "doubtful", "bad", "unchecked", "captioned", "without_caption"]


@dataclass(frozen=True)
class Item:
    """An image of the folder.

    Attributes:
        name: relative to the folder, with forward slashes.
        caption: what it is made of, and the caption itself, without the trigger word.
        excluded: whether it is not trained on.
        verdict: of the last check; None where the image is new or has changed since.
        edit: how it has been rotated and cropped by hand.
    """

    name: str
    caption: Entry
    excluded: bool
    verdict: Verdict | None
    edit: Edit = UNEDITED


@dataclass(frozen=True)
class Listing:
    """All images of a folder, sorted by name.

    Attributes:
        skipped: what looks like an image and cannot be used.
        warnings: sentences on captions that are not used.
        last: the report on what is trained on, as far as it has been checked; None where nothing has.
    """

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    last: LastReport | None

    def counts(self) -> dict[str, int]:
        """How many images there are, of each kind that :meth:`shown` tells apart."""
        counts = Counter(kind for item in self.items for kind in _kinds(item))
        kinds = ("included", "excluded", "good", "doubtful", "bad", "unchecked", "captioned", "without_caption")
        return {"images": len(self.items), **{kind: counts[kind] for kind in kinds}, "skipped": len(self.skipped)}

    def shown(self, show: Show = "all", search: str = "") -> list[Item]:
        """Those of a kind whose name or caption holds ``search``, as ``captions.editing.holding`` finds it."""
        items = [item for item in self.items if show == "all" or show in _kinds(item)]
        if not search.strip():
            return items
        rows = [editing.row_of(item.name, item.caption) for item in items]
        found = {row.image for row in editing.holding(rows, search)}
        return [item for item in items if item.name in found]

    def item(self, name: str) -> Item:
        """The image of this name.

        Raises:
            NotFound: there is none.
        """
        found = next((item for item in self.items if item.name == name), None)
        if found is None:
            raise NotFound(f"There is no image {name!r} in this folder; reload the list.")
        return found

    def words(self) -> list[tuple[str, int]]:
        """Tags of the captions that are trained on, and in how many each is, most first."""
        return editing.frequency(editing.row_of(item.name, item.caption) for item in self.items if not item.excluded)


def listing(place: Place, trigger: str = "") -> Listing:
    """The folder as it is now; while nothing in it changes, it is read only once.

    Args:
        place: the folder and its captions.
        trigger: the trigger word, for the advice.

    Raises:
        UserError: the folder is missing, or a file in it cannot be read.
    """
    with _LOCK:
        entry = _ENTRIES.setdefault((place, trigger), _Entry())
        _ENTRIES.move_to_end((place, trigger))
        if len(_ENTRIES) > _FOLDERS:
            _ENTRIES.popitem(last=False)
    # Of many who ask at once one reads, the others wait for what it finds.
    with entry.lock:
        of_captions, stamp = _stamps(place)
        if entry.store is None or entry.of_captions != of_captions:
            entry.store, entry.of_captions, entry.listing = place.open(), of_captions, None
        if entry.listing is None or entry.stamp != stamp:
            entry.listing, entry.stamp = _read(place, trigger, entry.store), stamp
        return entry.listing


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        # Reading the captions takes longest; an edit or an exclusion does not change them.
        self.of_captions = 0
        self.store: CaptionStore | None = None
        self.stamp = 0
        self.listing: Listing | None = None


_LOCK = threading.Lock()
_ENTRIES: OrderedDict[tuple[Place, str], _Entry] = OrderedDict()


def exclude(place: Place, names: Collection[str], unwanted: bool) -> None:
    """Leave images out of training from now on, or (``unwanted`` false) take them in again.

    Raises:
        NotFound: one of them is not there.
        UserError: the list of excluded images is damaged.
        OSError: the list cannot be written.
    """
    with changing(place.folder):
        there, _ = folder.scan(place.folder, "folder")
        if missing := set(names) - set(there):
            raise NotFound(f"images: there is no image {min(missing)!r} in the folder; reload the list and try again.")
        before = excluded.read(place.folder)
        excluded.write(place.folder, before | set(names) if unwanted else before - set(names))


def change_edit(place: Place, name: str, values: Mapping[str, Any]) -> None:
    """Rotate or crop an image from now on; its file stays as it is.

    Args:
        place: the folder.
        name: of the image.
        values: ``rotate``, ``crop`` or both, as :class:`images.edit.Edit` has them; what is missing stays: rotated
            alone, the image loses nothing that it had, and gets nothing back that was cropped away.

    Raises:
        NotFound: there is no such image.
        UserError: the values are wrong, the image cannot be read, or the list of edits is damaged.
        OSError: the list cannot be written.
    """
    with changing(place.folder):
        path = folder.inside(place.folder, name)
        if path is None:
            raise NotFound(f"There is no image {name[:200]!r} in this folder; reload the list.")
        edits = edited.read(place.folder)
        changed = edit.checked(edits.get(name, UNEDITED), values.get("rotate"), values.get("crop", ...))
        try:
            edit.require_room(changed, decode.size(path), name)
        except decode.Unreadable as error:
            raise UserError(f"{name} {error}. It cannot be edited.") from error
        edited.write(place.folder, {**edits, name: changed})


def image_facts(path: Path) -> tuple[Size | None, int]:
    """Width and height in pixels, upright, without its edit, None where the file cannot be read; and its bytes."""
    try:
        stat = path.stat()
    except OSError:
        return None, 0
    return _image_size(path, stat.st_mtime_ns, stat.st_size), stat.st_size


@functools.lru_cache(_SIZES)
def _image_size(path: Path, _changed: int, _bytes: int) -> Size | None:
    try:
        return decode.size(path)
    except decode.Unreadable:
        return None


def _kinds(item: Item) -> Iterable[str]:
    if item.excluded:
        # Good or bad, captioned or not: nothing is left to do about it.
        yield "excluded"
        return
    yield "included"
    yield "captioned" if item.caption.prompt else "without_caption"
    yield item.verdict.grade if item.verdict is not None else "unchecked"


def _read(place: Place, trigger: str, store: CaptionStore) -> Listing:
    unwanted, edits = excluded.read(place.folder), edited.read(place.folder)
    last = _last(place, store, unwanted, trigger)
    verdicts = {one.name: one for one in (*last.report.verdicts, *last.excluded)} if last is not None else {}
    items = tuple(
        Item(name, store.entry(name), name in unwanted, verdicts.get(name), edits.get(name, UNEDITED))
        for name in store.names
    )
    return Listing(items, tuple(store.skipped), tuple(store.warnings), last)


def _last(place: Place, store: CaptionStore, unwanted: Collection[str], trigger: str) -> LastReport | None:
    if not is_checked(place.folder):
        return None
    # Not needed for folders that have not been checked: it takes seconds to be imported.
    from ..models.tokenizer import Tokenizer

    names = [name for name in store.names if name not in unwanted]
    captions = {name: store.entry(name).prompt or folder_meaning(place.folder, name)[1] for name in store.names}
    return last_report(
        place.folder,
        names,
        [name for name in store.names if name in unwanted],
        captions=captions,
        count_tokens=_tokens,
        longest=Tokenizer.shipped().room,
        trigger=trigger,
    )


@functools.lru_cache(_COUNTS)
def _tokens(caption: str) -> int:
    from ..models.tokenizer import Tokenizer

    return Tokenizer.shipped().count(caption)


def _stamps(place: Place) -> tuple[int, int]:
    """A number that changes with everything that captions are read from, and one that changes with any file at all."""
    parts: list[tuple[str, int, int, int]] = []
    ours: list[tuple[str, int, int, int]] = []
    root, hidden = str(place.folder), ""
    pending = [root]
    while pending:
        # A folder that is just removed has nothing in it; a link that leads nowhere counts as what it is.
        here = pending.pop()
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                if here == root and entry.name == HIDDEN:
                    hidden = entry.path
                is_ours = entry.path == hidden or (here == hidden and entry.name != FIELDS)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                stat = entry.stat(follow_symlinks=False)
                (ours if is_ours else parts).append((entry.path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    if place.metadata is not None:
        for path in (place.metadata, place.metadata.with_name(f"{place.metadata.stem}.captions.json")):
            if path.exists():
                stat = path.stat()
                parts.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    of_captions = hash(tuple(sorted(parts)))
    return of_captions, hash((of_captions, *sorted(ours)))
