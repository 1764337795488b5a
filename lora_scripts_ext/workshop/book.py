"""The captions of a folder: what each picture is called, what it is made of, who wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files, json_text
from ..captioning.fields import Fields
from ..dataset import folder as folders
from ..dataset import metadata
from ..dataset.caption import tidy
from ..dataset.example import Skipped
from ..dataset.left_out import HIDDEN
from ..dataset.sheet import HEADER, Sheet
from ..errors import UserError

_FIELDS = "captions.json"


@dataclass(frozen=True)
class Entry:
    """A picture's caption.

    Attributes:
        fields: all empty where unknown.
        prompt: as training reads it, without the trigger word; empty where there is none.
        by: the captioner that wrote it, empty where a person or another tool did.
        edited: whether it is a person's: there, and not what was last written here.
    """

    fields: Fields = Fields()
    prompt: str = ""
    by: str = ""
    edited: bool = False


class Book:
    """The captions of a folder's pictures, in memory until :meth:`save`.

    Attributes:
        names: the pictures, as ``dataset.folder.scan`` gives them.
        skipped: what looks like an image and is not among them.
    """

    def __init__(
        self, folder: Path, path: Path, names: list[str], entries: dict[str, Entry], skipped: Sequence[Skipped] = ()
    ) -> None:
        """Use :meth:`open`."""
        self.skipped = list(skipped)
        self.names = names
        self._folder = folder
        self._path = path
        self._entries = entries

    @classmethod
    def open(cls, folder: Path, path: Path | None = None, key: str = "train_data_dir") -> Book:
        """Read the captions as training would: metadata.csv, else the text file beside the picture.

        Args:
            folder: of the pictures.
            path: the CSV; None takes the folder's own metadata.csv. It need not exist yet.
            key: what the user calls the folder, for errors.

        Raises:
            UserError: the folder is missing, or a file cannot be read.
        """
        names, skipped = folders.scan(folder, key)
        path = path or folder / "metadata.csv"
        rows: dict[str, str] = {}
        if path.is_file():
            rows = metadata.Metadata(path, folder, names, (one.name for one in skipped)).captions
        written = _read_fields(_fields_path(folder, path))
        entries = {}
        for name in names:
            prompt = rows.get(name) or _sidecar(folder / name)
            entries[name] = _entry(prompt, written.get(name))
        return cls(folder, path, names, entries, skipped)

    def entry(self, name: str) -> Entry:
        """A picture's caption."""
        return self._entries[name]

    def put(self, name: str, prompt: str, fields: Fields | None = None, by: str = "") -> None:
        """Change a caption in memory; ``by`` names the captioner, empty for a person.

        Raises:
            KeyError: there is no such picture.
        """
        if name not in self._entries:
            raise KeyError(name)
        self._entries[name] = Entry(fields or Fields(), tidy(prompt), by, bool(prompt) and not by)

    def save(self) -> None:
        """Write metadata.csv and what the captions are made of; rows and columns of other tools stay.

        Raises:
            OSError: a file cannot be written; the old one is still there.
        """
        # Someone may have written it meanwhile: what is there now is what must not be lost.
        sheet = Sheet.read(self._path) if self._path.is_file() else Sheet(HEADER, ())
        index = metadata.Index(self.names)
        rows, seen = [], set()
        for row in sheet.rows:
            name = self._picture(index, row[0])
            if name is None:
                rows.append(row)
            elif name not in seen:
                seen.add(name)
                rows.append(sheet.with_prompt(row, self._entries[name].prompt))
        for name in self.names:
            if name not in seen and self._entries[name].prompt:
                rows.append(sheet.with_prompt((self._written_name(name),), self._entries[name].prompt))
        Sheet(sheet.header, tuple(rows), sheet.marked).write(self._path)
        _write_fields(_fields_path(self._folder, self._path), self._entries)

    def write_sidecars(self) -> int:
        """Write each caption into a text file beside its picture; one that someone else wrote stays.

        Returns:
            How many were written.
        """
        known = _read_fields(_fields_path(self._folder, self._path))
        written = 0
        for name, entry in self._entries.items():
            path = (self._folder / name).with_suffix(".txt")
            there = _sidecar(self._folder / name)
            theirs = there and there not in (entry.prompt, known.get(name, {}).get("prompt"))
            if entry.prompt and not theirs and there != entry.prompt:
                files.write_text(path, entry.prompt + "\n")
                written += 1
        return written

    def _picture(self, index: metadata.Index, written: str) -> str | None:
        """The picture that a row names, as training finds it."""
        inside = metadata.candidates(written.strip(), (self._path.parent, self._folder), self._folder)
        return next((found for found in map(index.find, inside) if found), None)

    def _written_name(self, name: str) -> str:
        """A picture's name for a new row: relative to the CSV where it lies above, else to the folder."""
        path, home = (self._folder / name).absolute(), self._path.parent.absolute()
        return path.relative_to(home).as_posix() if path.is_relative_to(home) else name


def _entry(prompt: str, written: dict[str, Any] | None) -> Entry:
    if written is None or written.get("prompt") != prompt:
        return Entry(prompt=prompt, edited=bool(prompt))
    told = written["fields"]
    fields = Fields(told["subject"], tuple(told["attributes"]), told["scene"], told["style"])
    return Entry(fields, prompt, written["by"], bool(prompt) and not written["by"])


def _sidecar(picture: Path) -> str:
    try:
        return metadata.sidecar(picture) or ""
    except (OSError, ValueError):
        return ""


def _fields_path(folder: Path, path: Path) -> Path:
    """What the captions are made of lies hidden beside the pictures, or beside a CSV that is kept elsewhere."""
    if path.absolute().parent == folder.absolute():
        return folder / HIDDEN / _FIELDS
    return path.with_name(f"{path.stem}.{_FIELDS}")


def _read_fields(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["captions"]
        for written in told.values():
            Fields(**written["fields"]), written["prompt"], written["by"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: this file of caption fields is damaged ({error}); move it away, the captions in metadata.csv "
            "are not touched."
        ) from error
    return told


def _write_fields(path: Path, entries: dict[str, Entry]) -> None:
    told = {
        name: {"prompt": entry.prompt, "by": entry.by, "fields": asdict(entry.fields)}
        for name, entry in entries.items()
        if entry.prompt
    }
    files.write_text(path, json_text.dumps({"version": 1, "captions": told}, indent=1))
