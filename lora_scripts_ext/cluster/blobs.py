"""Files on a node by the SHA-256 of what they hold: each is sent once, however many jobs need it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 2**20
# What was used within this time is kept: a job may be about to take it.
_YOUNG_SECONDS = 3600.0


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Blobs:
    """The files that a node has been sent, in a folder that it keeps between jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that are not here; the others are kept for the next hour at least."""
        absent = []
        for digest in digests:
            try:
                touch(self._folder / digest)
            except FileNotFoundError:
                absent.append(digest)
        return absent

    def store(self, digest: str, offset: int, size: int, content: bytes) -> None:
        """Take the part of a file of ``size`` bytes that begins at ``offset``; the last one completes it.

        What is then not as its digest says was changed while it was sent, and is dropped.
        """
        part = self._folder / f".{digest}-{os.getpid()}.part"
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(content)
        if offset + len(content) < size:
            return
        if sha256(part) == digest:
            part.replace(self._folder / digest)
        else:
            part.unlink()

    def place(self, digest: str, path: Path, modified: float, *, own: bool) -> None:
        """Put a file at ``path``; ``own``: a copy that may be written to.

        modified: its modification time, in seconds since the epoch.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = self._folder / digest
        if own:
            shutil.copyfile(blob, path)
        else:
            try:
                os.link(blob, path)
            except OSError:
                shutil.copyfile(blob, path)
        # The time of access, which a link shares with the blob, says when that was last used.
        os.utime(path, (time.time(), modified))


def touch(path: Path) -> None:
    """Note that a file or folder of the node's store is used.

    Raises:
        FileNotFoundError: it is not there.
    """
    os.utime(path, (time.time(), path.stat().st_mtime))


def tidy(folders: Iterable[Path], most_bytes: float) -> None:
    """Delete what was not used for longest, until the entries of these folders take at most ``most_bytes``."""
    entries = []
    for folder in folders:
        for entry in folder.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                entries.append((entry.stat().st_atime, _size(entry), entry))
        for part in folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _YOUNG_SECONDS:
                    part.unlink()
    total = sum(size for _, size, _ in entries)
    for used, size, entry in sorted(entries, key=lambda one: one[0]):
        if total <= most_bytes or time.time() - used < _YOUNG_SECONDS:
            return
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        total -= size


def _size(entry: Path) -> int:
    files = [path for path in entry.rglob("*") if path.is_file()] if entry.is_dir() else [entry]
    return sum(path.stat().st_size for path in files)
