"""Captions from tables: which images of a folder the rows of a metadata file mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..errors import UserError
from ..images.skipped import Skipped
from . import text_file
from .csv_table import Sheet
from .json_table import Records
from .names import Index, candidates, is_elsewhere
from .row import Row
from .text_file import Text, Unknown

#: what a folder's captions are in, the first of them that is there; the last four are kohya's
FILES = (
    "metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.json",
    "meta_lat.json", "meta_clean.json", "meta_cap_dd.json", "meta_cap.json",
)  # fmt: skip
#: tables that are known but not read
UNREAD = frozenset({".parquet", ".xlsx", ".xls", ".ods"})
_JSON = frozenset({".json", ".jsonl", ".ndjson"})


class Table(Protocol):
    """A file of captions, parsed; see ``Sheet`` and ``Records``."""

    @property
    def rows(self) -> Sequence[Row]:
        """Of images, in the order of the file."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences on what is not used."""

    @property
    def described(self) -> str:
        """How the file is parsed, for a person."""

    def edited(self, changes: Mapping[int, str], new: Sequence[tuple[str, str]]) -> str:
        """The file's text with some rows changed and new ones added."""


class Metadata:
    """The captions of one file.

    Attributes:
        path: of the file.
        text: as it is, with its encoding.
        table: its rows.
        captions: by image name; without rows whose caption is empty.
        row_index: of each image's row in the table; of several the last one.
        unread: images whose caption is there and cannot be read.
        skipped: rows that name no image of the dataset, or that cannot be read.
        warnings: sentences on rows that were taken with a doubt.
    """

    def __init__(
        self, path: Path, root: Path, names: Sequence[str], known: Iterable[str] = (), encoding: str = ""
    ) -> None:
        """Match the rows of ``path`` with the images ``names`` under ``root``.

        Args:
            path: a table (CSV, TSV), or JSON.
            root: the folder of the images.
            names: relative to ``root``.
            known: names of files that are reported as skipped already.
            encoding: of the file where it is neither UTF-8 nor UTF-16.

        Raises:
            UserError: the file cannot be read, or no row of it names an image.
        """
        self.path = path
        self.text, self.table = read(path, encoding)
        self.captions: dict[str, str] = {}
        self.row_index: dict[str, int] = {}
        self.unread: set[str] = set()
        self.skipped: list[Skipped] = []
        self.warnings: list[str] = list(self.table.warnings)
        self._root = root
        self._match(Index(names), set(known))

    def _match(self, index: Index, known: set[str]) -> None:
        matched = [candidates(row.file, (self.path.parent, self._root), self._root) for row in self.table.rows]
        exact = [next(filter(None, map(index.find, inside)), None) for inside in matched]
        claimed = {name for name in exact if name}
        near = self._near(index, exact, claimed, matched, known)
        used = 0
        for number, (row, inside) in enumerate(zip(self.table.rows, matched, strict=True)):
            name = exact[number] or near.get(number)
            if isinstance(name, str):
                self._take(name, number, row)
                used += 1
            elif known.intersection(inside):
                used += 1
            else:
                self.skipped.append(Skipped(row.file or f"line {row.line}", self._reason(row, inside, name)))
        if self.table.rows and not used:
            raise UserError(self._nothing())
        if not self.table.rows:
            self.warnings.append(f"{self.path.name} has no rows, so there are no captions in it.")

    def _near(
        self,
        index: Index,
        exact: Sequence[str | None],
        claimed: set[str],
        matched: Sequence[list[str]],
        known: set[str],
    ) -> dict[int, str | list[str]]:
        """For rows whose path is another one: the one image they can mean, or all that they can mean.

        A row never gets an image that another one names in full, and two different paths never get the same.
        """
        near: dict[int, str | list[str]] = {}
        for number, row in enumerate(self.table.rows):
            if exact[number] or known.intersection(matched[number]):
                continue
            free = [name for name in index.near(row.file) if name not in claimed]
            if free and not self._is_other(row.file):
                near[number] = free[0] if len(free) == 1 else free
        claims: dict[str, set[str]] = {}
        for number, name in near.items():
            if isinstance(name, str):
                claims.setdefault(name, set()).add(self.table.rows[number].file)
        doubtful = {name for name, written in claims.items() if len(written) > 1}
        return {
            number: sorted(claims[name]) if isinstance(name, str) and name in doubtful else name
            for number, name in near.items()
        }

    def _take(self, name: str, number: int, row: Row) -> None:
        if row.doubt:
            self.unread.add(name)
            self.skipped.append(Skipped(name, f"{row.doubt} ({self.path.name}, line {row.line}); it is not used"))
            return
        if name in self.row_index:
            self.warnings.append(f"{self.path.name} lists {name} more than once; the last row counts.")
        self.row_index[name] = number
        self.captions.pop(name, None)
        if row.caption:
            self.captions[name] = row.caption

    def _reason(self, row: Row, inside: Sequence[str], near: list[str] | None) -> str:
        if not row.file:
            return f"of {self.path.name} names no image"
        if near:
            return (
                f"is listed in {self.path.name} but may be {near[0]} or {near[1]}; write the path in the folder of the "
                "images"
            )
        home = self._root.resolve()
        if not any((self._root / name).resolve().is_relative_to(home) for name in inside):
            return f"is listed in {self.path.name} but lies outside the folder of the images"
        return f"is listed in {self.path.name} but there is no such image file"

    def _is_other(self, written: str) -> bool:
        """Whether a relative path is that of a file, which then is another one than any image of the dataset."""
        if is_elsewhere(written):  # such a path is never touched: it may be on another machine
            return False
        try:
            return any((base / written.replace("\\", "/")).is_file() for base in (self.path.parent, self._root))
        except (OSError, ValueError):
            return False

    def _nothing(self) -> str:
        first = self.table.rows[0]
        count = len(self.table.rows)
        rows = f"none of its {count} rows names" if count > 1 else "its row does not name"
        return (
            f"{self.path}: {rows} an image in {self._root}; the first one (line {first.line}) is read as image "
            f"{first.file!r}, caption {first.caption!r} ({self.table.described}); correct the names, or move the file "
            "away."
        )


def read(path: Path, encoding: str = "") -> tuple[Text, Table]:
    """A file of captions, parsed.

    Raises:
        UserError: it cannot be read, or is of a kind or encoding that is not known.
    """
    if path.suffix.lower() in UNREAD:
        raise UserError(f"{path}: tables of this kind are not read; save it as CSV (UTF-8) and name that.")
    try:
        text = text_file.read(path, encoding)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror}); check the path.") from error
    except Unknown as error:
        raise UserError(f"{path}: {error}; {text_file.REMEDY}.") from error
    return text, parse(path, text)


def parse(path: Path, text: Text) -> Table:
    """The rows of a file, from its text.

    Raises:
        UserError: the text is not what the file's extension says, or its columns are not known.
    """
    return (Records if path.suffix.lower() in _JSON else Sheet)(path, text)
