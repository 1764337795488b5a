"""Files that are sent in parts: how much of each is there, in the library; what is there, in the data folder."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .. import file_lock, file_name
from ..errors import Conflict, NotFound, UserError
from .database import Database

FOLDER = "uploads"
_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_NAME = 1000
_now = time.time


@dataclass(frozen=True)
class Limits:
    """What may be sent, in bytes.

    Attributes:
        file: one file.
        open: all that have been announced and are not complete.
        free: what stays free on the disk.
        seconds: after which what is not complete is deleted.
    """

    file: int = 4 << 30
    open: int = 64 << 30
    free: int = 1 << 30
    seconds: float = 24 * 3600.0


@dataclass(frozen=True)
class Upload:
    """A file that is being sent.

    Attributes:
        name: valid on every system.
        received: bytes that are there.
        sha256: as announced, hex; empty where it was not.
        created, changed: in seconds since the epoch.
    """

    id: str
    model: str
    name: str
    size: int
    sha256: str
    received: int
    created: float
    changed: float


class WrongOffset(Conflict):
    """A part does not begin where the last one ended; ``received`` bytes are there."""

    def __init__(self, text: str, received: int) -> None:
        super().__init__(text)
        self.received = received


class Busy(Conflict):
    """Another request is sending the same file."""


class TooLarge(UserError):
    """There is no room for so much."""


class Part:
    """An open file that takes no more than it was announced to hold."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, content: bytes) -> None:
        """Append.

        Raises:
            TooLarge: it would be more than was announced; nothing of it is written.
            OSError: it cannot be written.
        """
        if len(content) > self._room:
            raise TooLarge("The body has more bytes than were announced; send no more than `size`.")
        rest = memoryview(content)
        # Unbuffered: what is counted as received is in the file.
        while rest:
            rest = rest[self._file.write(rest) :]
        self._room -= len(content)


class Uploads:
    """The uploads of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        self._database = database
        self._folder = database.folder / FOLDER
        self.limits = limits or Limits()

    def start(self, model: str, name: str, size: int, sha256: str = "") -> Upload:
        """Announce a file for a model.

        Raises:
            NotFound: there is no such model.
            UserError: a value cannot be used.
            TooLarge: there is no room for it.
        """
        self.sweep()
        sha256 = sha256.lower()
        if sha256 and not _SHA256.fullmatch(sha256):
            raise UserError("sha256: it has to be 64 hexadecimal digits; leave it out if you do not know it.")
        upload = Upload(secrets.token_hex(12), model, _plain(name), size, sha256, 0, _now(), _now())
        with self._database.writing() as connection:
            if connection.execute("SELECT 1 FROM models WHERE id = ?", [model]).fetchone() is None:
                raise NotFound(f"There is no model {model}; GET /models lists them all.")
            self._require_room(connection, size)
            connection.execute(
                "INSERT INTO uploads (id, model, name, size, sha256, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [upload.id, model, upload.name, size, sha256, upload.created, upload.changed],
            )
            path = self.path(upload)
            path.parent.mkdir(parents=True)
            path.touch()
        return upload

    def get(self, upload: str) -> Upload:
        """The upload with this id.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM uploads WHERE id = ?", [upload]).fetchone()
        if row is None:
            raise NotFound(
                f"There is no upload {upload[:40]}; it is complete, or was deleted after a day; start a new upload."
            )
        return Upload(**dict(row), received=_size(self._folder / upload / row["name"]))

    def of(self, model: str) -> list[Upload]:
        """The uploads of a model, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM uploads WHERE model = ? ORDER BY created", [model]).fetchall()
        return [Upload(**dict(row), received=_size(self._folder / row["id"] / row["name"])) for row in rows]

    def path(self, upload: Upload) -> Path:
        """The file with what has been received."""
        return self._folder / upload.id / upload.name

    @contextmanager
    def part(self, upload: str, offset: int) -> Iterator[Part]:
        """What follows the first ``offset`` bytes; what was written stays on every way out.

        Raises:
            NotFound: there is no such upload.
            WrongOffset: other than ``offset`` bytes are there.
            Busy: another request writes.
        """
        found = self.get(upload)
        with _appending(self.path(found)) as file:
            received = file.seek(0, os.SEEK_END)
            if received != offset:
                raise WrongOffset(f"offset: {received} bytes are there, not {offset}; go on from there.", received)
            with self._database.writing() as connection:
                connection.execute("UPDATE uploads SET changed = ? WHERE id = ?", [_now(), upload])
            yield Part(file, found.size - received)

    @contextmanager
    def complete(self, upload: str) -> Iterator[tuple[Upload, Path]]:
        """The whole file, to be taken out; it is deleted afterwards unless an exception is raised.

        Raises:
            NotFound: there is no such upload.
            WrongOffset: some of it is missing.
            UserError: it is not what was announced.
            Busy: another request writes or takes it.
        """
        found = self.get(upload)
        path = self.path(found)
        with _appending(path) as file:
            if (received := file.seek(0, os.SEEK_END)) != found.size:
                raise WrongOffset(f"{found.name}: {received} of {found.size} bytes are there; send the rest.", received)
            if found.sha256 and _digest(path) != found.sha256:
                file.truncate(0)
                raise UserError(f"{found.name}: the file has another sha256 than was announced; send it again.")
            yield found, path
        self.remove(upload)

    def remove(self, upload: str) -> None:
        """Forget an upload and delete its file.

        Raises:
            NotFound: there is none.
        """
        found = self.get(upload)
        with self._database.writing() as connection:
            connection.execute("DELETE FROM uploads WHERE id = ?", [upload])
        shutil.rmtree(self.path(found).parent, ignore_errors=True)

    @contextmanager
    def whole(self, name: str, size: int) -> Iterator[tuple[Path, Part]]:
        """A file that comes in one piece: a path, and what writes there; it is deleted on every way out.

        Raises:
            UserError: the name cannot be used.
            TooLarge: there is no room for it.
        """
        with self._database.reading() as connection:
            self._require_room(connection, size)
        path = self._folder / secrets.token_hex(12) / _plain(name)
        path.parent.mkdir(parents=True)
        try:
            with path.open("wb", buffering=0) as file:
                yield path, Part(file, size)
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what nobody has gone on with for a day."""
        oldest = _now() - self.limits.seconds
        with self._database.writing() as connection:
            connection.execute("DELETE FROM uploads WHERE changed < ?", [oldest])
            known = {row[0] for row in connection.execute("SELECT id FROM uploads")}
        if not self._folder.is_dir():
            return
        for left in self._folder.iterdir():
            if left.name not in known and left.stat().st_mtime < oldest:
                shutil.rmtree(left, ignore_errors=True)

    def _require_room(self, connection: sqlite3.Connection, size: int) -> None:
        if size < 1:
            raise UserError("size: the file is empty; choose another one.")
        if size > self.limits.file:
            raise TooLarge(f"size: the file has {size} bytes, at most {self.limits.file} are taken; split it.")
        rows = connection.execute("SELECT id, name, size FROM uploads").fetchall()
        if sum(row["size"] for row in rows) + size > self.limits.open:
            raise TooLarge("Too much is being sent at a time; complete or delete other uploads first.")
        to_come = sum(max(0, row["size"] - _size(self._folder / row["id"] / row["name"])) for row in rows)
        free = shutil.disk_usage(self._database.folder).free
        if free - to_come - size < self.limits.free:
            raise TooLarge(f"The server's disk has {free >> 20} MiB left, too few for this; free some space there.")


def _plain(name: str) -> str:
    """The last part of a path of any system, as a file name that is valid on every one and not hidden."""
    if len(name) > _LONGEST_NAME:
        raise UserError("name: it is far too long for a file name; choose a shorter one.")
    last = PurePosixPath(name.replace("\\", "/")).name.lstrip(". ")
    if not last:
        raise UserError(f"name: {name[:40]!r} is no file name; give the one of the file.")
    return file_name.cleaned(last)


@contextmanager
def _appending(path: Path) -> Iterator[BinaryIO]:
    """The file, open to be appended to by nobody else, and on disk afterwards."""
    try:
        handle = path.open("ab", buffering=0)
    except FileNotFoundError as error:
        raise NotFound(f"{path.name}: what was received of it is gone; start a new upload.") from error
    with handle as file:
        if file_lock.take(file.fileno()) is False:
            raise Busy(f"{path.name}: another request is sending or importing this file; wait for it.")
        try:
            yield file
        finally:
            os.fsync(file.fileno())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
