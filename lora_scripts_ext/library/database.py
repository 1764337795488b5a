"""The library's SQLite file, migrated when it is opened, set aside when it is damaged."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import file_lock
from ..errors import UserError
from . import schema
from .connections import BUSY_SECONDS, Connections

NAME = "library.sqlite3"


class Damaged(Exception):
    """The file is no SQLite database, or one that has lost pages."""


class Database(Connections):
    """The library's file in a data folder. Methods may be called from any thread."""

    def __init__(self, folder: Path, rebuild: Callable[[Database], None] = lambda database: None) -> None:
        """Open the file in ``folder``, creating both if they are missing.

        A damaged file is renamed; ``rebuild`` then fills the new one from what lies beside it.

        Attributes:
            warnings: what was done about a damaged file.

        Raises:
            UserError: the folder cannot be written, or the file is of a newer version.
        """
        super().__init__(folder / NAME)
        self.folder = folder
        self.warnings: list[str] = []
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

    def _open(self, rebuild: Callable[[Database], None]) -> None:
        try:
            self._check()
        except Damaged as error:
            self.close()
            kept = _set_aside(self.path)
            schema.migrate(self.connection(), schema.MIGRATIONS)
            rebuild(self)
            self.warnings.append(
                f"{self.path} was damaged ({error}). It was renamed to {kept.name}, and a new library was made from "
                "the folders of the jobs; what was only in the old file is missing, such as settings and keys."
            )

    def _check(self) -> None:
        try:
            connection = self.connection()
            found = schema.version(connection)
            if found > len(schema.MIGRATIONS):
                raise UserError(
                    f"{self.path} was written by a newer LoRA Trainer (version {found} of its tables, this one knows "
                    f"{len(schema.MIGRATIONS)}); update this one, or choose another --data-dir."
                )
            if found and (problem := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(problem)
            schema.migrate(connection, schema.MIGRATIONS)
        except sqlite3.OperationalError as error:
            # A table that should be there is not: its pages are gone.
            if "no such table" in str(error) or "malformed" in str(error):
                raise Damaged(str(error)) from error
            raise
        except sqlite3.DatabaseError as error:
            raise Damaged(str(error)) from error


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """One process at a time checks and repairs the file: who comes second must not set the new file aside."""
    handle = os.open(folder / f"{NAME}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + BUSY_SECONDS
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
