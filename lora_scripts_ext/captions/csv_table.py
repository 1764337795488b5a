"""A caption table as it is written (CSV, TSV): which fields are file name and caption, and how to change one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from . import columns, delimited
from .caption import tidy
from .delimited import Field, Record
from .row import Row
from .text_file import Text

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_SAMPLE = 50
_EXCEL = re.compile(r"sep=([,;\t])\s*(?:\r\n|\n|\r|\Z)", re.I)
_NUMBER = re.compile(r"[-+]?[\d.]+%?|true|false|yes|no|nan", re.I)


@dataclass(frozen=True)
class _Layout:
    """How a table is laid out.

    Attributes:
        delimiter: between fields.
        header: names of the columns; empty where the first row is an image's already.
        file: the column with the image.
        caption: the column with the caption.
        width: number of columns.
        open_ended: whether a caption without quotes may hold the delimiter, as there is nothing else a further field
            could belong to.
    """

    delimiter: str
    header: tuple[str, ...]
    file: int
    caption: int
    width: int
    open_ended: bool


class Sheet:
    """A caption table.

    Attributes:
        rows: of images, in the order of the file.
        warnings: sentences on columns that are not used.
    """

    def __init__(self, path: Path, text: Text) -> None:
        """Parse a file's text.

        Raises:
            UserError: there is no telling which column is the caption.
        """
        self.warnings: list[str] = []
        self._path = path
        self._text = text
        self._layout, self._records = self._parsed(text.text)
        self._cut: list[int] = []
        self.rows = tuple(self._row(record) for record in self._records)
        if self._cut:
            lines = ", ".join(map(str, self._cut[:5])) + (", ..." if len(self._cut) > 5 else "")
            self.warnings.append(
                f"{path.name}: rows have more fields than there are columns (line {lines}); of each the quoted field "
                "is the caption, what follows is not used."
            )

    @property
    def described(self) -> str:
        """How the table is parsed, for a person."""
        layout = self._layout
        names = ", ".join(name.strip() or "(unnamed)" for name in layout.header)
        return f"delimiter {_DELIMITERS[layout.delimiter]}, " + (f"columns {names}" if names else "no header")

    def edited(self, changes: Mapping[int, str], new: Sequence[tuple[str, str]]) -> str:
        """The whole text with the captions of some rows changed, by index in ``rows``, and rows of ``new`` images
        (name, caption) at its end. Everything else stays as it is written."""
        text = self._text.text
        for index in sorted(changes, reverse=True):
            text = self._changed(text, index, changes[index])
        if not new:
            return text
        end = delimited.line_end(text)
        if not text.strip():
            text = f"filename,prompt{end}"
        elif not text.endswith(("\n", "\r")):
            text += end
        return text + "".join(self._new(*one, number) + end for number, one in enumerate(new))

    def _parsed(self, text: str) -> tuple[_Layout, list[Record]]:
        """The layout and the rows of images."""
        excel = _EXCEL.match(text)
        delimiter = excel[1] if excel else max(_DELIMITERS, key=lambda one: _fitness(text, one))
        records = [record for record in delimited.records(text, delimiter) if record]
        if excel:
            records = records[1:]
        header = records[0] if records and _is_header(records) else None
        rest = records[1:] if header else records
        return self._layout_of(delimiter, header, rest), rest

    def _layout_of(self, delimiter: str, header: Record | None, rows: list[Record]) -> _Layout:
        values = [_values(record) for record in rows[:_SAMPLE]]
        if header is None:
            return self._headerless(delimiter, rows, values)
        names = _values(header)
        while len(names) > 2 and not names[-1].strip() and not any(row[len(names) - 1 :] for row in values):
            names.pop()
        file = columns.file_column(names, values)
        captions = columns.caption_columns(names, file)
        if not captions or file is None:
            raise UserError(self._nothing_named(names, "image" if captions else "caption"))
        if len(captions) > 1:
            others = ", ".join(names[column].strip() for column in captions[1:])
            used = names[captions[0]].strip()
            self.warnings.append(f"{self._path.name}: the column {used} is the caption; {others} is not used.")
        remaining = [name for column, name in enumerate(names) if column not in (file, captions[0])]
        only_indexes = all(column == 0 and columns.is_index(name) for column, name in enumerate(remaining))
        return _Layout(delimiter, tuple(names), file, captions[0], len(names), only_indexes)

    def _headerless(self, delimiter: str, rows: list[Record], values: list[list[str]]) -> _Layout:
        """Image, then caption; or an index before them. Where there are further columns the caption is not known."""
        most = max(map(len, values), default=2)
        file = next((column for column in range(min(most, 3)) if columns.holds_images(values, column)), 0)
        wide = [record for record in rows if len(record.fields) > file + 2]
        structured = any(record.fields[file + 1].quoted for record in wide)
        if values and len({len(row) for row in values}) == 1 and len(wide) == len(rows):
            structured |= any(
                all(_NUMBER.fullmatch(row[column].strip()) for row in values) for column in range(file + 1, most)
            )
        if structured:
            raise UserError(
                f"{self._path}: it has {most} columns and no header, so which one is the caption is not known; write a "
                f"first line that names them, such as {delimiter.join(['filename', 'prompt', 'other'])}."
            )
        return _Layout(delimiter, (), file, file + 1, file + 2, open_ended=True)

    def _nothing_named(self, names: Sequence[str], what: str) -> str:
        known = columns.CAPTIONS[:7:2] if what == "caption" else columns.FILES[:3]
        listed = ", ".join(name.strip() or "(unnamed)" for name in names)
        return (
            f"{self._path}: it has no {what} column, only {listed}; name one of them "
            f"{', '.join(known[:-1])} or {known[-1]}."
        )

    def _row(self, record: Record) -> Row:
        layout, fields = self._layout, record.fields
        caption = self._caption(record)
        surplus = len(_filled(fields)) - layout.width
        file, doubt = layout.file, ""
        if surplus > 0 and caption and caption[0].quoted:
            self._cut.append(record.line)
        elif surplus > 0 and not layout.open_ended:
            doubt = f"has {len(fields)} fields where there are {layout.width} columns; put its caption in quotes"
        elif file > layout.caption:
            file += len(caption) - 1
        name = fields[file].value.strip() if file < len(fields) else ""
        text = layout.delimiter.join(field.value for field in caption)
        return Row(name, "" if doubt else tidy(text), record.line, doubt)

    def _caption(self, record: Record) -> Sequence[Field]:
        """The fields of a row that are its caption: several where it holds delimiters and no quotes; none in a row that
        is too short."""
        layout, fields = self._layout, _filled(record.fields)
        surplus = max(0, len(fields) - layout.width)
        span = fields[layout.caption : layout.caption + 1 + surplus]
        if surplus and layout.open_ended and not any(field.quoted for field in span):
            return span
        return record.fields[layout.caption : layout.caption + 1]

    def _changed(self, text: str, index: int, caption: str) -> str:
        """The text with one row's caption changed; ``text`` is as it was read up to the end of that row."""
        layout, record = self._layout, self._records[index]
        if self.rows[index].caption == caption:
            return text
        old = self._caption(record)
        quote = any(field.quoted for field in old) or self._quoted(layout.caption)
        new = delimited.written(caption, layout.delimiter, quote)
        if old:
            return text[: old[0].start] + new + text[old[-1].end :]
        end = record.fields[-1].end
        return text[:end] + layout.delimiter * (layout.caption - len(record.fields) + 1) + new + text[end:]

    def _new(self, name: str, caption: str, number: int) -> str:
        layout = self._layout
        cells = [""] * layout.width
        cells[layout.file], cells[layout.caption] = name, caption
        if layout.file > 0 and layout.caption > 0 and (not layout.header or columns.is_index(layout.header[0])):
            cells[0] = self._next_index(number)
        return layout.delimiter.join(
            delimited.written(cell, layout.delimiter, bool(cell) and self._quoted(column))
            for column, cell in enumerate(cells)
        )

    def _quoted(self, column: int) -> bool:
        """Whether a column is quoted in every row, needed or not."""
        cells = [record.fields[column] for record in self._records if column < len(record.fields)]
        return bool(cells) and all(cell.quoted for cell in cells)

    def _next_index(self, number: int) -> str:
        """What pandas would number a further row; nothing where the first column is not numbers."""
        cells = [record.fields[0].value.strip() for record in self._records]
        return str(max(map(int, cells), default=-1) + 1 + number) if all(map(str.isdecimal, cells)) else ""


def _is_header(records: Sequence[Record]) -> bool:
    """Whether the first row names columns: the usual names, or what is no image above images."""
    first = _values(records[0])
    if any(map(columns.looks_like_image, first)):
        return False
    rows = [_values(record) for record in records[1 : 1 + _SAMPLE]]
    named = any(columns.plain(name) in columns.FILES for name in first)
    return named or any(columns.holds_images(rows, column) for column in range(len(first)))


def _fitness(text: str, delimiter: str) -> tuple[int, float]:
    """How well a delimiter fits: usual names in the first row, then the share of rows with an image in a field."""
    rows = [_values(record) for record in itertools.islice(delimited.records(text, delimiter), _SAMPLE) if record]
    names = {columns.plain(name) for name in rows[0]} if rows else set()
    named = bool(names & set(columns.FILES)) + bool(names & set(columns.CAPTIONS))
    images = sum(any(map(columns.looks_like_image, row)) and len(row) > 1 for row in rows)
    return named, images / max(1, len(rows))


def _values(record: Record) -> list[str]:
    return [field.value for field in record.fields]


def _filled(fields: Sequence[Field]) -> Sequence[Field]:
    """The fields without empty ones at the end."""
    count = len(fields)
    while count and not fields[count - 1].value.strip():
        count -= 1
    return fields[:count]
