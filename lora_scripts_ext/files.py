"""Atomic writes: files and folders are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .owner import Owner, tag_is_alive

_PREFIX, _SUFFIX = ".lora-trainer-", ".tmp"
# Whether a writer on another machine still runs cannot be known: its temporary files are deleted after this long.
_UNKNOWN_SECONDS = 24 * 3600


def _file_mode() -> int:
    """The mode of a file created the usual way; temporary files are only readable by their owner."""
    current = os.umask(0)
    os.umask(current)
    return 0o666 & ~current


# The mask can only be read by setting it, which other threads would see: once, at import.
_MODE = _file_mode()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed to disk and renamed to ``path``.

    A crash or an exception leaves the old file (or none), never a part of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name of ``path``, which may have the maximal length.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(), suffix=_SUFFIX)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(_MODE)
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success its files are flushed and it is renamed to ``path``.

    An existing folder is renamed to ``path`` with ``.old`` appended until the new one is in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(), suffix=_SUFFIX))
    old = path.with_name(f"{path.name}.old")
    try:
        yield temporary
        for file in temporary.iterdir():
            flush(file)
        flush_folder(temporary)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        temporary.rename(path)
        flush_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent`` that is deleted on every way out; :func:`sweep` deletes what a crash left."""
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=_prefix(), suffix=_SUFFIX))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written, or was when its writer ended."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def sweep(folder: Path) -> None:
    """Delete temporary files and folders in ``folder`` whose writers no longer run."""
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        if not _abandoned(left):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def appending(path: Path) -> BinaryIO:
    """Open a log to append to and read. A crash can leave its last line incomplete: who reads it must expect that."""
    return path.open("ab+")


def copy(source: Path, path: Path) -> None:
    """Copy the file ``source`` to ``path`` atomically."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def move(source: Path, path: Path) -> None:
    """Rename a file or folder to ``path`` on the same file system; missing parent folders are created.

    Raises:
        FileExistsError: ``path`` exists.
    """
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    source.rename(path)
    flush_folder(path.parent)
    flush_folder(source.parent)


def flush(path: Path) -> None:
    """Wait until the file's content is on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the folder's entries are on disk, where the system can do that (Windows cannot)."""
    if os.name == "nt":
        return
    # Some network file systems refuse to flush a folder; the files in it are flushed all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _prefix() -> str:
    return f"{_PREFIX}{Owner.current().tag()}-"


def _abandoned(left: Path) -> bool:
    # The random part of mkstemp holds no hyphen, but may hold underscores.
    tag = left.name.removeprefix(_PREFIX).rpartition("-")[0]
    try:
        alive = tag_is_alive(tag)
        return time.time() - left.stat().st_mtime > _UNKNOWN_SECONDS if alive is None else not alive
    except (ValueError, FileNotFoundError):
        return False


def pasted_path(text: str) -> str:
    """A path as a user has pasted it, without the spaces and the pair of quotes that file managers put around it."""
    path = text.strip()
    if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        return path[1:-1].strip()
    return path
