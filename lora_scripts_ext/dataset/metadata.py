"""Captions from files: metadata.csv with `filename,prompt`, and text files beside the pictures."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from .caption import tidy
from .example import Skipped
from .sheet import Sheet
from .text_file import read_text


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
        index = Index(names)
        reported = set(known)
        seen: set[str] = set()
        for written, prompt in rows(path):
            inside = candidates(written, (path.parent, root), root)
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
    """File name and prompt of every row; a header line is left out. The prompt is everything after the first comma or,
    under a header of more than two names, the column called prompt, caption or text.

    Raises:
        UserError: the file is missing or not text.
    """
    sheet = Sheet.read(path)
    return [(row[0].strip(), sheet.prompt(row)) for row in sheet.rows if row[0].strip()]


def candidates(written: str, bases: Sequence[Path], root: Path) -> list[str]:
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


class Index:
    """Picture names, found in spite of case and of composed or decomposed accents (macOS)."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the pictures' names."""
        self._exact = frozenset(names)
        self._alike: dict[str, list[str]] = {}
        for name in names:
            self._alike.setdefault(self._plain(name), []).append(name)

    def find(self, name: str) -> str | None:
        """The picture of that name, or None."""
        if name in self._exact:
            return name
        alike = self._alike.get(self._plain(name), [])
        return alike[0] if len(alike) == 1 else None

    @staticmethod
    def _plain(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()
