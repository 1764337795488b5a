"""What has been put where LoRAs are used, of which version, by whom; and what has been taken back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass

from .database import Database

_now = time.time


@dataclass(frozen=True)
class Publication:
    """A file of a version that was put where LoRAs are used.

    Attributes:
        seq: 1 for the first of the library; a later one has a higher number.
        model, version: their ids.
        file: of the version, which was copied.
        strength: the preferred weight on its card; None where a training has published it.
        path: where it was put; empty while that is being done.
        who: name of whoever has published it; empty for a training.
        created: in seconds since the epoch.
        withdrawn: when it was taken back; None where it was not.
    """

    seq: int
    model: str
    version: str
    file: str
    strength: float | None
    path: str
    who: str
    created: float
    withdrawn: float | None


class Publications:
    """The publications of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, model: str, version: str, file: str, strength: float, who: str) -> int:
        """Note that a file is about to be published; returns the ``seq`` of its publication, which nobody sees yet."""
        with self._database.writing() as connection:
            # What a process that has died had begun.
            connection.execute("DELETE FROM publications WHERE model = ? AND path = ''", [model])
            cursor = connection.execute(
                "INSERT INTO publications (model, version, file, strength, path, who, created) "
                "VALUES (?, ?, ?, ?, '', ?, ?)",
                [model, version, file, strength, who, _now()],
            )
        assert cursor.lastrowid is not None, "it was inserted"
        return cursor.lastrowid

    def finish(self, seq: int, path: str) -> Publication:
        """The file is at ``path`` now."""
        with self._database.writing() as connection:
            connection.execute("UPDATE publications SET path = ? WHERE seq = ?", [path, seq])
            row = connection.execute("SELECT * FROM publications WHERE seq = ?", [seq]).fetchone()
            published = Publication(**dict(row))
            connection.execute("UPDATE versions SET published = '' WHERE model = ?", [published.model])
            connection.execute("UPDATE versions SET published = ? WHERE id = ?", [path, published.version])
        return published

    def is_own_file(self, model: str, file: str) -> bool:
        """Whether a version of the model has no other file than this one, as one that was imported."""
        with self._database.reading() as connection:
            query = "SELECT 1 FROM versions WHERE model = ? AND file = ?"
            return connection.execute(query, [model, file]).fetchone() is not None

    def keep_file(self, model: str, old: str, new: str) -> None:
        """The own file of a version of a model, at ``old``, is about to be replaced: there is a copy at ``new``."""
        with self._database.writing() as connection:
            connection.execute("UPDATE versions SET file = ? WHERE model = ? AND file = ?", [new, model, old])

    def give_up(self, seq: int) -> None:
        """What was begun has not come to anything."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM publications WHERE seq = ? AND path = ''", [seq])

    def withdraw(self, publication: Publication, sha256: str) -> Publication | None:
        """The publication is taken back; returns the one before, which counts again.

        sha256: of the file that lies there now, hex; empty where there is none. It may be that of an imported version.
        """
        with self._database.writing() as connection:
            connection.execute("UPDATE publications SET withdrawn = ? WHERE seq = ?", [_now(), publication.seq])
            connection.execute("UPDATE versions SET published = '' WHERE id = ?", [publication.version])
            before = _current(connection, publication.model)
            if before is not None:
                connection.execute("UPDATE versions SET published = ? WHERE id = ?", [before.path, before.version])
            elif sha256:
                connection.execute(
                    "UPDATE versions SET published = ? WHERE model = ? AND sha256 = ?",
                    [publication.path, publication.model, sha256],
                )
        return before

    def all(self, model: str) -> list[Publication]:
        """Those of a model, the newest first."""
        with self._database.reading() as connection:
            return _all(connection, model)

    def current(self, models: Collection[str]) -> dict[str, Publication]:
        """What counts now of each of the models, by the model's id."""
        with self._database.reading() as connection:
            found = {model: _current(connection, model) for model in models}
        return {model: one for model, one in found.items() if one is not None}


def record(connection: sqlite3.Connection, model: str, version: str, file: str, path: str) -> None:
    """Note what a training has published, in the transaction that records its version."""
    connection.execute(
        "INSERT INTO publications (model, version, file, path, created) VALUES (?, ?, ?, ?, ?)",
        [model, version, file, path, _now()],
    )
    connection.execute("UPDATE versions SET published = '' WHERE model = ? AND id != ?", [model, version])


def _all(connection: sqlite3.Connection, model: str) -> list[Publication]:
    rows = connection.execute("SELECT * FROM publications WHERE model = ? AND path != '' ORDER BY seq DESC", [model])
    return [Publication(**dict(row)) for row in rows]


def _current(connection: sqlite3.Connection, model: str) -> Publication | None:
    return next((one for one in _all(connection, model) if one.withdrawn is None), None)
