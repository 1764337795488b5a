"""The watches of the library: for a model the folder that its new images arrive in, and what is done with them."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, json_text
from ..errors import NotFound
from . import hour, models
from .database import Database
from .job import ENDED, Job, NewJob

if TYPE_CHECKING:
    from .queue import Queue

#: a watch as it was last changed, in its model's folder: for a library that is made again
RECORD = "watch/watch.json"
_now = time.time


@dataclass(frozen=True)
class Watch:
    """What is done about the new images of a model.

    Attributes:
        folder: that they arrive in, absolute.
        config: how they are taken in and trained on, checked.
        state: ``day``, the last one (``YYYY-MM-DD``) whose hour has been attended to; ``job``, queued then;
            ``base_model``, for a model that names none.
        created, changed: in seconds since the epoch.
    """

    id: str
    model: str
    folder: str
    config: dict[str, Any]
    state: dict[str, Any]
    created: float
    changed: float

    @classmethod
    def of(cls, row: sqlite3.Row) -> Watch:
        """The watch in a row of the table ``watches``."""
        return cls(**{**dict(row), "config": json.loads(row["config"]), "state": json.loads(row["state"])})

    def is_due(self, now: float) -> bool:
        """Whether its hour has come and nothing has been done about that yet."""
        return is_due(self.state.get("day", ""), hour.newest(self.config["hour"], now))


class Watches:
    """The watches of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Watch]:
        """The oldest first."""
        with self._database.reading() as connection:
            return [Watch.of(row) for row in connection.execute("SELECT * FROM watches ORDER BY created, id")]

    def get(self, model: str) -> Watch:
        """The watch of a model.

        Raises:
            NotFound: it has none.
        """
        with self._database.reading() as connection:
            return _get(connection, model)

    def put(self, model: str, folder: str, config: dict[str, Any], base_model: str = "") -> Watch:
        """Begin to watch ``folder`` for a model, or change how; its first hour is the next one that comes.

        ``base_model`` is that of trainings that name none where this is called.

        Raises:
            NotFound: there is no such model.
        """
        now = _now()
        with self._database.writing() as connection:
            if connection.execute("SELECT 1 FROM models WHERE id = ?", [model]).fetchone() is None:
                raise NotFound(f"There is no model {model}; GET /models lists them all.")
            before = connection.execute("SELECT * FROM watches WHERE model = ?", [model]).fetchone()
            if before is None:
                connection.execute(
                    "INSERT INTO watches (id, model, folder, created, changed) VALUES (?, ?, ?, ?, ?)",
                    [secrets.token_hex(6), model, folder, now, now],
                )
            state = {} if before is None else Watch.of(before).state
            state["base_model"] = base_model
            if before is None or Watch.of(before).config["hour"] != config["hour"]:
                state["day"] = hour.newest(config["hour"], now)
            connection.execute(
                "UPDATE watches SET folder = ?, config = ?, state = ?, changed = ? WHERE model = ?",
                [folder, json_text.dumps(config), json_text.dumps(state), now, model],
            )
            watch = _get(connection, model)
        with contextlib.suppress(OSError):
            files.write_text(self._record(model), json_text.dumps(vars(watch), indent=1))
        return watch

    def remove(self, model: str) -> None:
        """Watch no more; images and versions stay.

        Raises:
            NotFound: the model has no watch.
        """
        with self._database.writing() as connection:
            _get(connection, model)
            connection.execute("DELETE FROM watches WHERE model = ?", [model])
        with contextlib.suppress(OSError):
            self._record(model).unlink(missing_ok=True)

    def _record(self, model: str) -> Path:
        return self._database.folder / models.FOLDER / model / RECORD

    def attend(self, watch: Watch, queue: Queue, job: NewJob | None) -> Job | None:
        """Note that the hour of ``watch`` has been attended to, and queue ``job`` for it if there is one.

        Whoever comes second, in whatever process, does nothing; nor is a job queued while one of its kind waits or
        runs for the model.

        Returns:
            The job, if it was queued.
        """
        with self._database.writing() as connection:
            found = connection.execute("SELECT * FROM watches WHERE id = ?", [watch.id]).fetchone()
            if found is None or not Watch.of(found).is_due(_now()):
                return None
            state = {**Watch.of(found).state, "day": hour.newest(Watch.of(found).config["hour"], _now())}
            added = None
            if job is not None and running(connection, job.kind, watch.model) is None:
                (added,) = queue.add([job])
                state["job"] = added.id
            connection.execute("UPDATE watches SET state = ? WHERE id = ?", [json_text.dumps(state), watch.id])
            return added


def from_folders(database: Database) -> None:
    """Fill a library that is made again with the watches whose records are in the folders of its models."""
    with database.writing() as connection:
        for path in sorted((database.folder / models.FOLDER).glob(f"*/{RECORD}")):
            # One record that cannot be used must not cost the others.
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, sqlite3.IntegrityError):
                values = json.loads(path.read_text(encoding="utf-8"))
                row = {key: values[key] for key in ("id", "model", "folder", "created", "changed")}
                row |= {key: json_text.dumps(values[key]) for key in ("config", "state")}
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO watches ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def running(connection: sqlite3.Connection, kind: str, model: str) -> str | None:
    """The id of a job of this kind that waits or runs for the model."""
    query = f"SELECT id FROM jobs WHERE kind = ? AND model = ? AND state NOT IN {ENDED}"
    row = connection.execute(query, [kind, model]).fetchone()
    return None if row is None else str(row[0])


def is_due(attended: str, newest: str) -> bool:
    """Whether the day ``newest`` still has to be attended to, where ``attended`` (both ``YYYY-MM-DD``) was the last.

    A day further ahead than tomorrow was written with a clock that was wrong, and counts for nothing.
    """
    try:
        ahead = date.fromisoformat(attended) > date.fromisoformat(newest) + timedelta(days=1)
    except ValueError:
        return True
    return ahead or attended < newest


def _get(connection: sqlite3.Connection, model: str) -> Watch:
    row = connection.execute("SELECT * FROM watches WHERE model = ?", [model]).fetchone()
    if row is None:
        raise NotFound(f"Model {model} has no watch; PUT /models/{model}/watch or `watch add` makes one.")
    return Watch.of(row)
