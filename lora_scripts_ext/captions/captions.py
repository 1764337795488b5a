"""The captions of a folder's images, from tables and text files, and a word on each that is not used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ..images.skipped import Skipped
from . import sidecar, table, text_file
from .sidecar import Sidecar, Sidecars
from .table import Metadata

_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"}) | table.UNREAD
_LISTED = 5


class Captions:
    """The captions of the images of a folder.

    For each image the first that has one counts: the table that is named, the one in the image's own folder, those in
    the folders above it, the text files beside it.

    Attributes:
        tables: in this order, without those of other folders.
        skipped: rows that are not used.
        unread: images with a caption that cannot be read.
        warnings: sentences the user should read.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        skipped: Iterable[Skipped] = (),
        *,
        table: Path | None = None,
        encoding: str = "",
        leave_out: Iterable[Path] = (),
    ) -> None:
        """Read them.

        Args:
            root: the folder.
            names: of its images, relative to it with forward slashes.
            skipped: what is reported of the folder already.
            table: the file of captions, which need not be there; None takes the folder's own. Those of sub-folders
                count in both cases.
            encoding: of files that are neither UTF-8 nor UTF-16.
            leave_out: folders that are no part of the dataset.

        Raises:
            UserError: a table cannot be read, no row of it names an image, or there is no such encoding.
        """
        known = [one.name for one in skipped]
        files = _files(root, leave_out)
        self.tables = read_tables(root, names, known, files, table=table, encoding=encoding)
        self.skipped = [one for source in self.tables for one in source.skipped]
        self.warnings = [text for source in self.tables for text in source.warnings]
        self.unread = {name for source in self.tables for name in source.unread if name not in source.row_index}
        used = {source.path.resolve() for source in self.tables}
        files = [name for name in files if (root / name).resolve() not in used]
        texts = [name for name in files if sidecar.is_text(name)]
        self._sidecars = Sidecars(root, [*names, *known], texts, encoding)
        self._beside = {name: self._sidecars.read(name) for name in names}
        self._written = {name: caption for name in names if (caption := self._in_tables(name))}
        self.unread = {name for name in self.unread if name not in self._written}
        self.unread |= {name for name in names if self._is_unread(name)}
        self.warnings += [*self._on_tables(), *self._on_files(), *_on_unused(files)]

    def caption(self, name: str) -> str | None:
        """An image's caption on one line; empty where a file says nothing, None where there is none."""
        return self._written.get(name) or self._beside[name].caption

    def sidecar(self, name: str) -> Sidecar:
        """What the text files beside an image say."""
        return self._beside[name]

    def files(self, name: str) -> Sequence[str]:
        """The text files beside an image, relative to the folder."""
        return self._sidecars.files(name)

    def _in_tables(self, name: str) -> str | None:
        return next((caption for source in self.tables if (caption := source.captions.get(name))), None)

    def _is_unread(self, name: str) -> bool:
        return bool(self._beside[name].unread) and not self.caption(name)

    def _on_tables(self) -> list[str]:
        """Images of which two tables say different things."""
        differing = []
        for name, caption in self._written.items():
            if any(source.captions.get(name, caption) != caption for source in self.tables):
                differing.append(name)
        if not differing:
            return []
        return [f"Tables of captions differ on {_listed(differing)}; the one named, or nearest to the image, is used."]

    def _on_files(self) -> list[str]:
        """Text files that are not used."""
        messages = []
        unread = {name: one for name, one in self._beside.items() if one.unread}
        if unread:
            first = next(iter(unread.values()))
            messages.append(
                f"Text files that cannot be read are not used; they are those of {_listed(list(unread))} "
                f"({first.unread}: {first.reason}); {text_file.REMEDY}."
            )
        doubled = [f"{used} (not {other})" for used, other in sidecar.differing(self._beside)]
        if doubled:
            messages.append(f"Text files of the same image differ; used are {_listed(doubled)}.")
        beside = [one.file for name, one in self._beside.items() if self._overruled(name, one)]
        if beside:
            messages.append(f"Text files differ from the table, which is used: {_listed(beside)}.")
        orphans = self._sidecars.orphans()
        if orphans:
            messages.append(f"Text files without an image of their name are not used: {_listed(orphans)}.")
        return messages

    def _overruled(self, name: str, beside: Sidecar) -> bool:
        return bool(beside.caption) and self._written.get(name, beside.caption) != beside.caption


def own_table(root: Path) -> Path | None:
    """The file of captions that a folder has, if any."""
    files = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_file()}
    return next((files[name] for name in table.FILES if name in files), None)


def read_tables(
    root: Path,
    names: Sequence[str],
    known: Sequence[str],
    files: Sequence[str] | None = None,
    *,
    table: Path | None = None,
    encoding: str = "",
) -> list[Metadata]:
    """The tables that hold captions of a folder's images, by precedence; ``files`` are those that may be such.

    Raises:
        UserError: as for :class:`Captions`.
    """
    text_file.check(encoding)
    candidates = _files(root, ()) if files is None else files
    return [
        Metadata(path, root, names if path == table else _below(root, path, names), known, encoding)
        for path in _tables(root, candidates, table)
    ]


def _files(root: Path, leave_out: Iterable[Path]) -> list[str]:
    """Files under ``root`` that may hold captions, relative to it; hidden and ignored folders are passed over."""
    ignored = {folder.resolve() for folder in leave_out}
    relative = []
    for folder, below, files in os.walk(root):
        here = Path(folder)
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".") and not (here / name).is_symlink() and (here / name).resolve() not in ignored
        )
        for name in sorted(files):
            suffix = PurePosixPath(name).suffix.lower()
            may_hold_captions = sidecar.is_text(name) or suffix in _TABLES or name.lower() in table.FILES
            if may_hold_captions and not name.startswith("."):
                relative.append((here / name).relative_to(root).as_posix())
    return relative


def _tables(root: Path, files: Sequence[str], named: Path | None) -> list[Path]:
    """The tables to read, by precedence."""
    by_folder: dict[str, dict[str, str]] = {}
    for name in files:
        path = PurePosixPath(name)
        if path.name.lower() in table.FILES:
            by_folder.setdefault(path.parent.as_posix(), {})[path.name.lower()] = name
    own = {
        folder: next(by_name[name] for name in table.FILES if name in by_name) for folder, by_name in by_folder.items()
    }
    if named is not None:
        own.pop(".", None)
        own = {folder: name for folder, name in own.items() if (root / name).resolve() != named.resolve()}
    deepest = sorted(own.values(), key=lambda name: (-name.count("/"), name))
    return ([named] if named and named.is_file() else []) + [root / name for name in deepest]


def _below(root: Path, table: Path, names: Sequence[str]) -> list[str]:
    """The images in the folder of one of its tables."""
    folder = table.parent.relative_to(root).as_posix()
    prefix = "" if folder == "." else f"{folder}/"
    return [name for name in names if name.startswith(prefix)]


def _on_unused(files: Sequence[str]) -> list[str]:
    tables = [name for name in files if not sidecar.is_text(name)]
    if not tables:
        return []
    return [f"Tables in the folder are not read: {_listed(tables)}; metadata_path names the one to read."]


def _listed(names: Sequence[str]) -> str:
    """Some names and how many there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
