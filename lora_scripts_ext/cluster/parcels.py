"""Files on their way between the worker and a node, in parts that fit into Ray's object store."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import files
from .blobs import sha256
from .outbox import Name
from .roots import Root

#: bytes of one call
PART_BYTES = 32 * 2**20
# A saved state is a folder that must be there whole or not at all.
_WHOLE = re.compile(r"(.*/)?step-\d+")


class Digests:
    """SHA-256 of files, computed again only where one was changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def of(self, path: Path) -> str:
        """SHA-256 (hex) of a file."""
        state = path.stat()
        stamp = (state.st_ino, state.st_mtime_ns, state.st_size)
        known = self._known.get(str(path))
        if known is None or known[0] != stamp:
            known = self._known[str(path)] = (stamp, sha256(path))
        return known[1]


def inputs(roots: Iterable[Root], digests: Digests) -> tuple[list[list[list[Any]]], dict[str, Path]]:
    """For each root its files with SHA-256 and modification time, and a path for every SHA-256."""
    listed, paths = [], dict[str, Path]()
    for root in roots:
        rows = []
        for name in root.listed():
            path = Path(root.folder, name)
            digest = digests.of(path)
            paths[digest] = path
            rows.append([name, digest, path.stat().st_mtime])
        listed.append(rows)
    return listed, paths


def parts(paths: Mapping[str, Path]) -> Iterator[list[tuple[str, int, int, bytes]]]:
    """These files by their SHA-256, in lists for :meth:`Node.store`, each of at most ``PART_BYTES``."""
    batch: list[tuple[str, int, int, bytes]] = []
    room = PART_BYTES
    for digest, path in paths.items():
        size, offset = path.stat().st_size, 0
        with path.open("rb") as file:
            while offset < size or not size:
                content = file.read(min(room, size - offset))
                batch.append((digest, offset, size, content))
                offset += len(content)
                room -= len(content)
                if room <= 0:
                    yield batch
                    batch, room = [], PART_BYTES
                # A file that has become shorter is no longer what its digest says; the node finds that out.
                if not content:
                    break
    if batch:
        yield batch


def unpack(delivery: Mapping[str, Any], roots: list[Root], read: Callable[[Name, int, int], bytes]) -> None:
    """Change the worker's folders as the job has changed the node's; every file whole or not at all.

    What a state refers to comes before the state, and what is replaced goes last.

    read: bytes of a changed file, by its name, from an offset on.
    """

    def target(number: int, name: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name}: a node cannot write outside of the job's folders")
        return Path(roots[number].folder, name)

    for number, name, old_number, old_name in delivery["moved"]:
        if (source := target(old_number, old_name)).is_file():
            files.copy(source, target(number, name))
    states: dict[Path, list[tuple[Name, int]]] = {}
    for number, name, size in delivery["changed"]:
        path = target(number, name)
        if _WHOLE.fullmatch(str(Path(name).parent.as_posix())):
            states.setdefault(path.parent, []).append(((number, name), size))
            continue
        with files.replacing(path) as temporary:
            _fill(temporary, (number, name), size, read)
    for folder, parts_of_it in sorted(states.items()):
        with _whole(folder) as temporary:
            for key, size in parts_of_it:
                _fill(temporary / Path(key[1]).name, key, size, read)
    for number, name in delivery["removed"]:
        _remove(target(number, name), Path(roots[number].folder))


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces ``folder``, with the files that are there already."""
    with files.replacing_folder(folder) as temporary:
        if folder.is_dir():
            for path in folder.iterdir():
                shutil.copyfile(path, temporary / path.name)
        yield temporary


def _fill(path: Path, name: Name, size: int, read: Callable[[Name, int, int], bytes]) -> None:
    with path.open("wb") as file:
        for offset in range(0, size, PART_BYTES):
            file.write(read(name, offset, PART_BYTES))
    if path.stat().st_size != size:
        raise OSError(f"{name[1]}: {path.stat().st_size} of {size} bytes came")


def _remove(path: Path, root: Path) -> None:
    """Delete a file, and the folders that are empty without it."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or root not in folder.parents:
            return
        with suppress(OSError):
            folder.rmdir()
