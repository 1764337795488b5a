"""Captions from files: metadata.csv with `filename,prompt`, and text files beside the pictures."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import UserError
from .caption import tidy
from .example import Skipped

_HEADERS = frozenset({"filename", "file_name", "file"})


def read_text(path: Path) -> str:
    """A text file in UTF-8 (with or without BOM) or, failing that, GB18030, as Chinese Windows writes.

    Raises:
        ValueError: it is neither.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030")


def sidecar(picture: Path) -> str | None:
    """The caption in the `.txt` or `.caption` file beside ``picture``, or None where there is none.

    Raises:
        ValueError: as for ``read_text``.
        OSError: as for ``read_text``.
    """
    for suffix in (".txt", ".caption"):
        path = picture.with_suffix(suffix)
        if path.is_file():
            return tidy(read_text(path))
    return None


class Metadata:
    """The captions of one metadata.csv.

    Attributes:
        captions: prompt by picture name; rows with an empty prompt are left out.
        skipped: rows that name no picture of the set.
        warnings: sentences on rows that were taken with a doubt.
    """

    def __init__(self, path: Path, root: Path, names: Sequence[str], known: Iterable[str]) -> None:
        """Match the rows of ``path`` with the pictures ``names`` under ``root``; ``known`` are reported already.

        Raises:
            UserError: the file cannot be read.
        """
        self.captions: dict[str, str] = {}
        self.skipped: list[Skipped] = []
        self.warnings: list[str] = []
        index = _Index(names)
        reported = set(known)
        seen: set[str] = set()
        for written, prompt in rows(path):
            inside = _inside(written, (path.parent, root), root)
            name = next((found for found in map(index.find, inside) if found), None)
            if name is None:
                if not reported.intersection(inside):
                    self.skipped.append(Skipped(written, _reason(path.name, root, inside)))
                continue
            if name in seen:
                self.warnings.append(f"{path.name} lists {name} more than once; the last row counts.")
            seen.add(name)
            self.captions.pop(name, None)
            if prompt:
                self.captions[name] = prompt


def rows(path: Path) -> list[tuple[str, str]]:
    """File name and prompt of every row; a header line is left out, everything after the first comma is the prompt.

    Raises:
        UserError: the file is missing or not text.
    """
    try:
        text = read_text(path).replace("\0", "")
    except OSError as error:
        raise UserError(f"metadata_path: {path} cannot be read ({error.strerror}); check the path.") from error
    except ValueError as error:
        raise UserError(f"metadata_path: {path} is not UTF-8 text; save it as CSV UTF-8.") from error
    pairs = [(fields[0].strip(), tidy(",".join(fields[1:]))) for fields in _fields(text) if any(fields)]
    if pairs and pairs[0][0].casefold() in _HEADERS:
        del pairs[0]
    return [pair for pair in pairs if pair[0]]


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


def _inside(written: str, bases: Sequence[Path], root: Path) -> list[str]:
    """The names relative to ``root`` that a row may mean; none when each of them leaves ``root``."""
    home = Path(os.path.normpath(root.absolute()))
    found = []
    for base in bases:
        path = Path(os.path.normpath(base.absolute() / written.replace("\\", "/")))
        if path.is_relative_to(home):
            found.append(path.relative_to(home).as_posix())
    return found


def _reason(csv_name: str, root: Path, inside: Sequence[str]) -> str:
    home = root.resolve()
    if not any((root / name).resolve().is_relative_to(home) for name in inside):
        return f"is listed in {csv_name} but lies outside the folder of the pictures"
    return f"is listed in {csv_name} but there is no such picture file"


class _Index:
    """Picture names, found in spite of case and of composed or decomposed accents (macOS)."""

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = frozenset(names)
        self._alike: dict[str, list[str]] = {}
        for name in names:
            self._alike.setdefault(self._plain(name), []).append(name)

    def find(self, name: str) -> str | None:
        if name in self._exact:
            return name
        alike = self._alike.get(self._plain(name), [])
        return alike[0] if len(alike) == 1 else None

    @staticmethod
    def _plain(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()
