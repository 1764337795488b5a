"""A metadata.csv as it is written: rows of fields, which of them are the file name and the prompt."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import UserError
from .caption import tidy
from .text_file import read_text

_FILE_NAMES = frozenset({"filename", "file_name", "file"})
_PROMPTS = ("prompt", "caption", "text")
HEADER = ("filename", "prompt")


@dataclass(frozen=True)
class Sheet:
    """The rows of a metadata.csv.

    Attributes:
        header: the first row, where it names columns; None where it is a picture's.
        rows: of fields, in the order of the file.
        marked: whether the file begins with the byte-order mark by which Excel knows UTF-8.
    """

    header: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]
    marked: bool = False

    @classmethod
    def read(cls, path: Path) -> Sheet:
        """Parse a file.

        Raises:
            UserError: the file is missing or not text.
        """
        try:
            text, marked = read_text(path).replace("\0", ""), path.read_bytes().startswith(codecs.BOM_UTF8)
        except OSError as error:
            raise UserError(f"metadata_path: {path} cannot be read ({error.strerror}); check the path.") from error
        except ValueError as error:
            raise UserError(f"metadata_path: {path} is not UTF-8 text; save it as CSV UTF-8.") from error
        rows = [tuple(fields) for fields in _fields(text) if any(fields)]
        if rows and rows[0][0].strip().casefold() in _FILE_NAMES:
            return cls(rows[0], tuple(rows[1:]), marked)
        return cls(None, tuple(rows), marked)

    @property
    def column(self) -> int | None:
        """Where the prompt is, in a file of more than two named columns; None: it is all that follows the name."""
        names = [name.strip().casefold() for name in self.header or ()]
        if len(names) <= len(HEADER):
            return None
        return next((names.index(name) for name in _PROMPTS if name in names), None)

    def prompt(self, row: Sequence[str]) -> str:
        """A row's prompt on one line."""
        if self.column is None:
            return tidy(",".join(row[1:]))
        return tidy(row[self.column]) if self.column < len(row) else ""

    def with_prompt(self, row: Sequence[str], prompt: str) -> tuple[str, ...]:
        """The row with another prompt; what other columns say stays."""
        if self.column is None:
            return (row[0], prompt)
        wide = [*row, *[""] * (self.column + 1 - len(row))]
        wide[self.column] = prompt
        return tuple(wide)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all; a file without a header gets one."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header or HEADER)
        writer.writerows(self.rows)
        files.write_text(path, ("\ufeff" if self.marked else "") + out.getvalue())


def _fields(text: str) -> list[list[str]]:
    """Parse CSV; where a stray quote makes it invalid, line by line, so that one row cannot swallow the next."""
    lines = list(io.StringIO(text, newline=""))  # str.splitlines would also split at form feeds and the like
    try:
        return list(csv.reader(lines, strict=True))
    except csv.Error:
        return [_line_fields(line.rstrip("\r\n")) for line in lines]


def _line_fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return line.split(",", 1)
