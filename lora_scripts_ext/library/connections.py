"""A SQLite file that threads and processes share: one connection a thread, short transactions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_SECONDS = 30.0


class Connections:
    """The connections to the file at ``path``. Methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._watching: sqlite3.Connection | None = None
        self._lock = threading.Lock()

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
        connection = self.connection()
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
        connection = self.connection()
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

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in no transaction unless this thread has begun one."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self.path)
            with self._lock:
                self._connections.append(connection)
            self._local.connection = connection
        return connection


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full disk has rolled it back already.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    # Closed by the thread that closes them all.
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    # With the default of some builds, a power failure may take the last transactions with it.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
