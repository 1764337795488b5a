"""Captions as a table to edit: a row for each image, with what the caption is made of and the caption itself.

Every function takes rows and gives new ones; :func:`save` brings them back into the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .caption import parts
from .fields import TEMPLATE, Fields, join
from .store import CaptionStore, Entry


class Row(NamedTuple):
    """An image's caption and what it is made of; attributes with commas between them."""

    image: str
    caption: str
    subject: str
    attributes: str
    scene: str
    style: str

    @property
    def fields(self) -> Fields:
        """What the caption is made of."""
        return Fields(self.subject.strip(), tuple(parts(self.attributes)), self.scene.strip(), self.style.strip())


HEADERS = Row._fields


def rows(store: CaptionStore) -> list[Row]:
    """All captions, in the order of the images."""
    return [row_of(name, store.entry(name)) for name in store.names]


def row_of(name: str, entry: Entry) -> Row:
    """The row of one image."""
    fields = entry.fields
    return Row(name, entry.prompt, fields.subject, ", ".join(fields.attributes), fields.scene, fields.style)


def holding(table: Iterable[Row], text: str) -> list[Row]:
    """Rows that hold ``text`` anywhere, in any case; ``tag:…`` asks for a whole tag, ``none`` for no caption."""
    needle = text.strip().casefold()
    if needle == "none":
        return [row for row in table if not row.caption]
    if needle.startswith("tag:"):
        tag = needle.removeprefix("tag:").strip()
        return [row for row in table if tag in map(str.casefold, parts(row.caption))]
    return [row for row in table if needle in " ".join(row).casefold()]


def replaced(table: Iterable[Row], find: str, replacement: str) -> list[Row]:
    """``find`` replaced in fields and captions; the images' names stay."""
    return [Row(row.image, *(text.replace(find, replacement) for text in row[1:])) for row in table]


def with_tag(table: Iterable[Row], tag: str) -> list[Row]:
    """``tag`` at the end of attributes and caption, where it is not yet."""
    return [_changed(row, lambda tags: tags if _has(tags, tag) else [*tags, tag.strip()]) for row in table]


def without_tag(table: Iterable[Row], tag: str) -> list[Row]:
    """Attributes and captions without ``tag``, in any case."""
    unwanted = tag.strip().casefold()
    return [_changed(row, lambda tags: [one for one in tags if one.casefold() != unwanted]) for row in table]


def frequency(table: Iterable[Row]) -> list[tuple[str, int]]:
    """Tags of the captions and in how many of them each is, most first."""
    counted = Counter[str]()
    for row in table:
        counted.update(list(dict.fromkeys(parts(row.caption))))
    return counted.most_common()


def save(store: CaptionStore, table: Iterable[Row], template: str = TEMPLATE) -> int:
    """Bring what has changed into the store, in memory; returns how many captions those are.

    A caption that was typed rules, and its fields are no longer known; where only fields were typed it is joined again.
    """
    before = {row.image: row for row in rows(store)}
    changed = 0
    for row in table:
        old = before.get(row.image)
        if old is None or row == old:
            continue
        typed = row.caption != old.caption
        in_step = not typed or row.fields != old.fields
        store.put(row.image, row.caption if typed else join(row.fields, template), row.fields if in_step else Fields())
        changed += 1
    return changed


def _changed(row: Row, change: Callable[[list[str]], list[str]]) -> Row:
    """The row with its tags changed, in attributes (where fields are known) and caption."""
    attributes, caption = row.attributes, row.caption
    if row.fields != Fields():
        attributes = ", ".join(change(parts(attributes)))
    if caption:
        caption = ", ".join(change(parts(caption)))
    return row._replace(attributes=attributes, caption=caption)


def _has(tags: Sequence[str], tag: str) -> bool:
    return tag.strip().casefold() in map(str.casefold, tags)
