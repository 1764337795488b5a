"""The library's SQLite file: one connection a thread, migrated when it is opened, set aside when it is damaged."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import file_lock
from ..errors import UserError
from . import schema

NAME = "library.sqlite3"
_BUSY_SECONDS = 30.0


class Damaged(Exception):
    """The file is no SQLite database, or one that has lost pages."""


class Database:
    """The library's file in a data folder. Methods may be called from any thread."""

    def __init__(self, folder: Path, rebuild: Callable[[Database], None] = lambda database: None) -> None:
        """Open the file in ``folder``, creating both if they are missing.

        A damaged file is renamed; ``rebuild`` then fills the new one from what lies beside it.

        Attributes:
            warnings: what was done about a damaged file.

        Raises:
            UserError: the folder cannot be written, or the file is of a newer version.
        """
        self.folder = folder
        self.path = folder / NAME
        self.warnings: list[str] = []
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._watching: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _opening(folder):
                self._open(rebuild)
        except OSError as error:
            raise UserError(f"{folder}: the library cannot be opened ({error.strerror}); check the folder.") from error
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{self.path}: the library cannot be opened ({error}); check the free space and the rights there."
            ) from error

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            if self._watching is not None:
                self._watching.close()
                self._watching = None
            self._local = threading.local()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from; what several statements read in it is of one moment."""
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together at the end, or, after an exception, not at all."""
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN IMMEDIATE")
        afterwards: list[Callable[[], None]] = []
        self._local.afterwards = afterwards
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        finally:
            self._local.afterwards = None
        for function in afterwards:
            function()

    def afterwards(self, function: Callable[[], None]) -> None:
        """Call ``function`` once the changes that this thread is making are kept; at once where it makes none."""
        pending: list[Callable[[], None]] | None = getattr(self._local, "afterwards", None)
        if pending is None:
            function()
        else:
            pending.append(function)

    def version(self) -> int:
        """A number that changes with every change of the file, whichever thread or process makes it."""
        with self._lock:
            if self._watching is None:
                # One that never writes: SQLite does not count a connection's own changes.
                self._watching = _connect(self.path)
            return int(self._watching.execute("PRAGMA data_version").fetchone()[0])

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self.path)
            with self._lock:
                self._connections.append(connection)
            self._local.connection = connection
        return connection

    def _open(self, rebuild: Callable[[Database], None]) -> None:
        try:
            self._check()
        except Damaged as error:
            self.close()
            kept = _set_aside(self.path)
            schema.migrate(self._connection())
            rebuild(self)
            self.warnings.append(
                f"{self.path} was damaged ({error}). It was renamed to {kept.name}, and a new library was made from "
                "the folders of the jobs; what was only in the old file is missing, such as settings and keys."
            )

    def _check(self) -> None:
        try:
            connection = self._connection()
            found = schema.version(connection)
            if found > len(schema.MIGRATIONS):
                raise UserError(
                    f"{self.path} was written by a newer LoRA Trainer (version {found} of its tables, this one knows "
                    f"{len(schema.MIGRATIONS)}); update this one, or choose another --data-dir."
                )
            if found and (problem := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(problem)
            schema.migrate(connection)
        except sqlite3.OperationalError as error:
            # A table that should be there is not: its pages are gone.
            if "no such table" in str(error) or "malformed" in str(error):
                raise Damaged(str(error)) from error
            raise
        except sqlite3.DatabaseError as error:
            raise Damaged(str(error)) from error


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full disk has rolled it back already.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    # Closed by the thread that closes the database.
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    # With the default of some builds, a power failure may take the last transactions with it.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """One process at a time checks and repairs the file: who comes second must not set the new file aside."""
    handle = os.open(folder / f"{NAME}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + _BUSY_SECONDS
        while file_lock.take(handle) is False and time.monotonic() < until:
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _set_aside(path: Path) -> Path:
    """Rename the file and what SQLite keeps beside it; returns the new path."""
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    kept = path.with_name(f"{path.name}.{stamp}.damaged")
    for suffix in ("", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(path.with_name(f"{path.name}.{stamp}.damaged{suffix}"))
    return kept
