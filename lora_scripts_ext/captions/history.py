"""Changes to several captions at once: shown before they are made, and undone, also after a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files, json_text
from ..errors import NotFound
from ..images.excluded import HIDDEN
from ..images.exclusive import changing
from . import editing
from .editing import Row
from .fields import TEMPLATE, Fields
from .store import CaptionStore, Entry

_FILE = "undo.json"
_STEPS = 20
# A step over ten thousand long captions has some five megabytes.
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Place:
    """Where the captions of a folder are; ``metadata`` and ``encoding`` as for ``CaptionStore.open``."""

    folder: Path
    metadata: Path | None = None
    encoding: str = ""

    def open(self) -> CaptionStore:
        """Read them.

        Raises:
            UserError: the folder is missing, or a file cannot be read.
        """
        return CaptionStore.open(self.folder, self.metadata, self.encoding)


@dataclass(frozen=True)
class Change:
    """What becomes of an image's caption."""

    image: str
    before: str
    after: str


@dataclass(frozen=True)
class Undone:
    """What undoing came to.

    Attributes:
        what: the change that was undone.
        changes: of captions that are as before again.
        kept: images whose captions have been changed since, and stay.
    """

    what: str
    changes: list[Change]
    kept: list[str]


def preview(
    place: Place, edit: Callable[[list[Row]], list[Row]], images: Collection[str] | None = None
) -> list[Change]:
    """What ``edit`` would make of the captions of these ``images``, of all where there are none; nothing is written.

    Raises:
        UserError: a file of captions cannot be read.
        NotFound: one of the images is not there.
    """
    before = _chosen(editing.rows(place.open()), images)
    return [Change(old.image, old.caption, new.caption) for old, new in _differing(before, edit(before))]


def apply(
    place: Place,
    edit: Callable[[list[Row]], list[Row]],
    what: str,
    images: Collection[str] | None = None,
    template: str = TEMPLATE,
) -> list[Change]:
    """As ``preview``, and written; ``what`` names the change for who undoes it.

    Raises:
        UserError: a file of captions cannot be read or written.
        NotFound: one of the images is not there.
        OSError: a file cannot be written.
    """
    with changing(place.folder):
        store = place.open()
        before = _chosen(editing.rows(store), images)
        differing = _differing(before, edit(before))
        entries = {old.image: store.entry(old.image) for old, _ in differing}
        editing.save(store, [new for _, new in differing], template)
        changes = [Change(name, entry.prompt, store.entry(name).prompt) for name, entry in entries.items()]
        if changes:
            _write(place.folder, [*_read(place.folder), _step(what, entries, store)])
            store.save()
        return changes


def undo(place: Place) -> Undone | None:
    """Take the last change back; None where there is none. Captions that were changed since stay.

    Raises:
        UserError: a file of captions cannot be read or written.
        OSError: a file cannot be written.
    """
    with changing(place.folder):
        steps = _read(place.folder)
        if not steps:
            return None
        step = steps[-1]
        store = place.open()
        changes, kept = [], []
        for name, (before, after) in step["captions"].items():
            if name not in store.names:
                continue
            now = store.entry(name).prompt
            if now != after:
                kept.append(name)
                continue
            fields = before["fields"]
            store.put(
                name,
                before["prompt"],
                Fields(fields["subject"], tuple(fields["attributes"]), fields["scene"], fields["style"]),
                before["by"],
            )
            changes.append(Change(name, now, before["prompt"]))
        store.save()
        _write(place.folder, steps[:-1])
        return Undone(step["what"], changes, kept)


def undoable(folder: Path) -> list[str]:
    """What can be undone, the last change first."""
    return [str(step["what"]) for step in reversed(_read(folder))]


def _chosen(rows: list[Row], images: Collection[str] | None) -> list[Row]:
    if images is None:
        return rows
    wanted = set(images)
    if missing := wanted - {row.image for row in rows}:
        raise NotFound(f"images: there is no image {min(missing)!r} in the folder; reload the list and try again.")
    return [row for row in rows if row.image in wanted]


def _differing(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[Row, Row]]:
    old = {row.image: row for row in before}
    return [(old[row.image], row) for row in after if row != old[row.image]]


def _step(what: str, entries: dict[str, Entry], store: CaptionStore) -> dict[str, Any]:
    captions = {
        name: ({"prompt": entry.prompt, "fields": asdict(entry.fields), "by": entry.by}, store.entry(name).prompt)
        for name, entry in entries.items()
    }
    return {"what": what, "at": time.time(), "captions": captions}


def _read(folder: Path) -> list[dict[str, Any]]:
    """The changes that can be undone, oldest first; a damaged list costs only that."""
    try:
        steps = json.loads((folder / HIDDEN / _FILE).read_text(encoding="utf-8"))["steps"]
        for step in steps:
            for before, _ in step["captions"].values():
                Fields(**before["fields"]), before["prompt"], before["by"], step["what"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
    return list(steps)


def _write(folder: Path, steps: list[dict[str, Any]]) -> None:
    steps = steps[-_STEPS:]
    while len(text := json_text.dumps({"version": 1, "steps": steps})) > _MOST_BYTES and steps:
        steps = steps[1:]
    files.write_text(folder / HIDDEN / _FILE, text)
