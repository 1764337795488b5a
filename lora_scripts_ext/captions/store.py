"""The captions of a folder: what each image is called, what it is made of, who wrote it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files, json_text
from ..errors import UserError
from ..images import folder as folders
from ..images.excluded import HIDDEN
from ..images.skipped import Skipped
from . import table
from .caption import tidy
from .captions import Captions, own_table, read_tables
from .fields import Fields
from .table import Metadata
from .text_file import Text

FIELDS = "captions.json"


@dataclass(frozen=True)
class Entry:
    """An image's caption.

    Attributes:
        fields: all empty where unknown.
        prompt: as training reads it, without the trigger word; empty where there is none that can be read.
        by: the captioner that wrote it, empty where a person or another tool did.
        edited: whether it is a person's: there, if only as a file that cannot be read, and not what was last written
            here.
    """

    fields: Fields = Fields()
    prompt: str = ""
    by: str = ""
    edited: bool = False


class CaptionStore:
    """The captions of a folder's images, in memory until :meth:`save`.

    Attributes:
        names: the images, as ``images.folder.scan`` gives them.
        path: the table that new captions are written into.
        skipped: what looks like an image and is not among them, and rows of tables that are not used.
        warnings: sentences on captions that are not used.
    """

    def __init__(self, folder: Path, names: list[str], path: Path | None, encoding: str, known: list[Skipped]) -> None:
        """Use :meth:`open`."""
        self.names = names
        self.path = path or own_table(folder) or folder / "metadata.csv"
        self._folder = folder
        self._named = path
        self._encoding = encoding
        self._known = known
        self._changed: set[str] = set()
        self._existing = Captions(folder, names, known, table=path, encoding=encoding)
        self.skipped = [*known, *self._existing.skipped]
        self.warnings = self._existing.warnings
        written = _read_fields(_fields_path(folder, self.path))
        self._entries = {name: self._entry(name, written.get(name)) for name in names}

    @classmethod
    def open(
        cls, folder: Path, path: Path | None = None, encoding: str = "", key: str = "train_data_dir"
    ) -> CaptionStore:
        """Read the captions as training would: tables such as metadata.csv, else the text file beside the image.

        Args:
            folder: of the images.
            path: the table; None takes the folder's own. It need not exist yet.
            encoding: of files that are neither UTF-8 nor UTF-16; empty recognises GBK.
            key: what the user calls the folder, for errors.

        Raises:
            UserError: the folder is missing, or a file cannot be read.
        """
        names, skipped = folders.scan(folder, key)
        return cls(folder, names, path, encoding, skipped)

    @property
    def without_caption(self) -> list[str]:
        """The images that have none."""
        return [name for name in self.names if not self._entries[name].prompt]

    def entry(self, name: str) -> Entry:
        """An image's caption."""
        return self._entries[name]

    def put(self, name: str, prompt: str, fields: Fields | None = None, by: str = "") -> None:
        """Change a caption in memory; ``by`` names the captioner, empty for a person.

        Raises:
            KeyError: there is no such image.
        """
        if name not in self._entries:
            raise KeyError(name)
        self._entries[name] = Entry(fields or Fields(), tidy(prompt), by, bool(prompt) and not by)
        self._changed.add(name)

    def save(self) -> None:
        """Write the captions that were put, and what they are made of; every other byte of a table stays as it is.

        Raises:
            UserError: a table cannot be read any more, or its encoding has no such characters; nothing is written.
            OSError: a file cannot be written; the old one is still there.
        """
        if not self._changed:
            return
        # Someone may have written a table meanwhile: what is there now is what must not be lost.
        known = [one.name for one in self._known]
        tables = read_tables(self._folder, self.names, known, table=self._named, encoding=self._encoding)
        for path, content in self._edited(tables).items():
            files.write_bytes(path, content)
        _write_fields(_fields_path(self._folder, self.path), self._entries)
        self._changed.clear()

    def write_sidecars(self) -> int:
        """Write each caption into a text file beside its image; one that someone else wrote stays.

        Returns:
            How many were written.
        """
        known = _read_fields(_fields_path(self._folder, self.path))
        captions = Captions(self._folder, self.names, self._known, table=self._named, encoding=self._encoding)
        written = 0
        for name, entry in self._entries.items():
            beside = captions.sidecar(name)
            theirs = beside.caption and beside.caption not in (entry.prompt, known.get(name, {}).get("prompt"))
            if entry.prompt and not theirs and not beside.unread and beside.caption != entry.prompt:
                path = self._folder / (beside.file or Path(name).with_suffix(".txt"))
                files.write_text(path, entry.prompt + "\n")
                written += 1
        return written

    def _edited(self, tables: list[Metadata]) -> dict[Path, bytes]:
        """The tables that change, as bytes: a caption is changed where it is, a new one goes into the nearest table."""
        changes: dict[Path, dict[int, str]] = {}
        new: dict[Path, list[tuple[str, str]]] = {}
        for name in self.names:
            if name not in self._changed:
                continue
            prompt = self._entries[name].prompt
            holding = [source for source in tables if name in source.row_index]
            # The first one rules; one that is emptied would let another one show.
            for source in holding[:1] if prompt else holding:
                changes.setdefault(source.path, {})[source.row_index[name]] = prompt
            if prompt and not holding:
                path = self._path_for(name, tables)
                new.setdefault(path, []).append((_written_name(self._folder / name, path, name), prompt))
        texts = {source.path: (source.text, source.table) for source in tables}
        if self.path not in texts:
            empty = Text("")
            texts[self.path] = empty, table.parse(self.path, empty)
        edited = {}
        for path, (text, parsed) in texts.items():
            changed = parsed.edited(changes.get(path, {}), new.get(path, []))
            if changed != text.text:
                edited[path] = _encoded(path, text, changed)
        return edited

    def _entry(self, name: str, written: dict[str, Any] | None) -> Entry:
        prompt = self._existing.caption(name) or ""
        if written is None or written.get("prompt") != prompt:
            return Entry(prompt=prompt, edited=bool(prompt) or name in self._existing.unread)
        stored = written["fields"]
        fields = Fields(stored["subject"], tuple(stored["attributes"]), stored["scene"], stored["style"])
        return Entry(fields, prompt, written["by"], bool(prompt) and not written["by"])

    def _path_for(self, name: str, tables: list[Metadata]) -> Path:
        """The table for an image that is in none: the one that is named, else the nearest in the folders above it."""
        if self._named is not None:
            return self.path
        image = self._folder / name
        return next((source.path for source in tables if image.is_relative_to(source.path.parent)), self.path)


def _written_name(image: Path, table: Path, name: str) -> str:
    """An image's name for a new row: relative to the table where it lies above, else ``name`` in its folder."""
    path, home = image.absolute(), table.parent.absolute()
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else name


def _encoded(path: Path, text: Text, changed: str) -> bytes:
    try:
        return text.encode(changed)
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}: it is saved in {text.encoding}, which has no {changed[error.start]!r} as a new caption needs; "
            "save it as UTF-8 and try again. Nothing was written."
        ) from error


def _fields_path(folder: Path, path: Path) -> Path:
    """What the captions are made of lies hidden beside the images, or beside a CSV that is kept elsewhere."""
    if path.absolute().parent == folder.absolute():
        return folder / HIDDEN / FIELDS
    return path.with_name(f"{path.stem}.{FIELDS}")


def _read_fields(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        captions = json.loads(path.read_text(encoding="utf-8"))["captions"]
        for written in captions.values():
            Fields(**written["fields"]), written["prompt"], written["by"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: this file of caption fields is damaged ({error}); move it away, the captions in metadata.csv "
            "are not touched."
        ) from error
    return captions


def _write_fields(path: Path, entries: dict[str, Entry]) -> None:
    captions = {
        name: {"prompt": entry.prompt, "by": entry.by, "fields": asdict(entry.fields)}
        for name, entry in entries.items()
        if entry.prompt
    }
    files.write_text(path, json_text.dumps({"version": 1, "captions": captions}, indent=1))
