"""When each fetch command was run last, and by whom: once a night, whatever number of processes share the library."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict, dataclass, replace

from .. import json_text
from ..owner import Owner
from . import hour
from .database import Database
from .watches import is_due

# A night in which the machine goes down again and again.
_MOST_TRIES = 3
# To end a command that takes too long, and to write that down.
_GRACE_SECONDS = 60.0
_now = time.time


@dataclass(frozen=True)
class Fetched:
    """A night's run of a command.

    Attributes:
        day: whose hour it was run at (``YYYY-MM-DD``).
        tries: how often it was started for that day.
        owner: the process that runs it.
        child: the command's own process, once it is there.
        code: its exit code; negative, as ``subprocess`` has it, where a signal ended it.
        outcome: how it ended, as a sentence; empty while it runs.
        started, ended: in seconds since the epoch.
        until: when it has been ended at the latest, for an owner that cannot be looked up: one on another machine, or
            on this one under another name.
    """

    day: str
    tries: int
    owner: Owner
    child: Owner | None = None
    code: int | None = None
    outcome: str = ""
    started: float = 0.0
    ended: float | None = None
    until: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, and the process that runs it may be alive."""
        alive = self.owner.alive()
        return self.ended is None and (_now() < self.until if alive is None else alive)


@dataclass(frozen=True)
class Begun:
    """A run that has been taken on for ``day``; ``died``: the one before, if its process ended in the middle."""

    day: str
    died: Fetched | None


class Fetches:
    """The runs of the fetch commands. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> Fetched | None:
        """The last run of a command; None where there was none."""
        with self._database.reading() as connection:
            return _get(connection, name)

    def begin(self, name: str, at: str, owner: Owner, seconds: float = 0.0) -> Begun | None:
        """Take it upon ``owner`` to run the command whose hour is ``at``, for at most ``seconds``; None where it is not
        due, or another process was first.

        A command that has never been run waits for the next time that its hour comes.
        """
        now = _now()
        day = hour.newest(at, now)
        # Asked every few seconds: nearly always without a transaction that others would have to wait for.
        if not _is_due(self.get(name), day):
            return None
        with self._database.writing() as connection:
            last = _get(connection, name)
            if last is None:
                _set(connection, name, Fetched(day, 0, owner, None, None, "Waits for its hour.", now, now))
                return None
            if not _is_due(last, day):
                return None
            died = last if last.ended is None else None
            tries = died.tries + 1 if died is not None and died.day == day else 1
            _set(connection, name, Fetched(day, tries, owner, started=now, until=now + seconds + _GRACE_SECONDS))
            return Begun(day, died)

    def started(self, name: str, child: Owner) -> None:
        """The command's own process is there."""
        with self._database.writing() as connection:
            if (last := _get(connection, name)) is not None:
                _set(connection, name, replace(last, child=child))

    def ended(self, name: str, outcome: str, code: int | None, *, again: bool = False) -> None:
        """The command has ended; ``again``: in the middle, so that it is due at once."""
        with self._database.writing() as connection:
            if (last := _get(connection, name)) is not None:
                day = "" if again else last.day
                _set(connection, name, replace(last, day=day, outcome=outcome, code=code, ended=_now()))


def _is_due(last: Fetched | None, day: str) -> bool:
    """Whether there is something to do about a command whose hour has come on ``day``."""
    if last is None:
        return True
    again = last.ended is None and last.tries < _MOST_TRIES
    return not last.is_running and (again or is_due(last.day, day))


def _get(connection: sqlite3.Connection, name: str) -> Fetched | None:
    row = connection.execute("SELECT value FROM settings WHERE key = ?", [f"fetch:{name}"]).fetchone()
    if row is None:
        return None
    values = json.loads(row[0])
    child = values["child"]
    return Fetched(**{
        **values, "owner": Owner(**values["owner"]), "child": None if child is None else Owner(**child),
    })  # fmt: skip


def _set(connection: sqlite3.Connection, name: str, run: Fetched) -> None:
    value = json_text.dumps(asdict(run))
    connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", [f"fetch:{name}", value])
