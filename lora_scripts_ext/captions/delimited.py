"""Delimited text (CSV, TSV) as fields that know where they stand, so that one can be changed and all others stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")
# What a row begins with: a quoted field that runs over such a line end was never closed.
_IMAGE_ROW = re.compile(
    r'[\r\n][^\r\n"]{1,255}\.(?:png|jpe?g|jfif|webp|bmp|gif|tiff?|heic|heif|avif|jxl)\s*[,;\t]', re.I
)


@dataclass(frozen=True)
class Field:
    """A field: its value, and where it stands in the text with its quotes."""

    value: str
    start: int
    end: int
    quoted: bool = False


@dataclass(frozen=True)
class Record:
    """The fields of a row, with the number of the line it begins in, from 1."""

    fields: tuple[Field, ...]
    line: int

    def __bool__(self) -> bool:
        return any(field.value.strip() for field in self.fields)


def records(text: str, delimiter: str) -> Iterator[Record]:
    """All rows, empty ones included. Quoted fields may hold delimiters, line ends and doubled quotes.

    A quote that does not close before a delimiter or a line end is an ordinary character, as in ``5" tall``; it never
    swallows the rows that follow.
    """
    position, line = 0, 1
    stop, space = f"{re.escape(delimiter)}\r\n", " " if delimiter == "\t" else " \t"
    stops = re.compile(f"[{stop}]")
    quoted = re.compile(rf'[{space}]*"([^"]*(?:""[^"]*)*)"[{space}]*(?=[{stop}]|\Z)')
    while position < len(text):
        fields, begun = [], line
        while True:
            match = quoted.match(text, position)
            if match and not _IMAGE_ROW.search(match[1]):
                value = match[1].replace('""', '"')
                line += len(_LINE_END.findall(match[1]))
                fields.append(Field(value.replace("\0", ""), position, match.end(), quoted=True))
            else:
                stopped = stops.search(text, position)
                end = stopped.start() if stopped else len(text)
                fields.append(Field(text[position:end].replace("\0", ""), position, end))
            position = fields[-1].end
            if text[position : position + 1] != delimiter:
                break
            position += 1
        ended = _LINE_END.match(text, position)
        position, line = (ended.end() if ended else position), line + 1
        yield Record(tuple(fields), begun)


def written(value: str, delimiter: str, quote: bool = False) -> str:
    """A value as a field: quoted where ``quote`` or the value asks for it."""
    needs = any(char in value for char in f'{delimiter}"\r\n') or value != value.strip()
    return '"' + value.replace('"', '""') + '"' if quote or needs else value


def line_end(text: str) -> str:
    """How the lines of a text end; a line feed where there is only one."""
    match = _LINE_END.search(text)
    return match[0] if match else "\n"
