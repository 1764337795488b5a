"""What people have decided about versions of models: approved, rejected, asked for, remarked, by whom and when."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from ..errors import UserError
from .database import Database

Verdict = Literal["requested", "approved", "rejected", "comment"]
VERDICTS: tuple[Verdict, ...] = ("requested", "approved", "rejected", "comment")
Standing = Literal["none", "requested", "approved", "rejected"]
_LONGEST_COMMENT, _LONGEST_NAME = 4000, 100
_COLUMNS = "id, version, verdict, checkpoint, strength, comment, who, created"
_now = time.time


@dataclass(frozen=True)
class Decision:
    """What someone has said about a version.

    Attributes:
        version: id of the version.
        checkpoint: path of the file that it is about; empty where it is about all of the version.
        strength: that it is about; None for any.
        who: name of whoever has said it; empty where that is not known.
        created: in seconds since the epoch.
    """

    id: str
    version: str
    verdict: Verdict
    checkpoint: str
    strength: float | None
    comment: str
    who: str
    created: float

    def applies(self, checkpoint: str, strength: float) -> bool:
        """Whether it is about this file at this strength."""
        return self.checkpoint in ("", checkpoint) and self.strength in (None, strength)


@dataclass(frozen=True)
class Reviewed:
    """How a version stands: by the last of its decisions that is no mere comment.

    Attributes:
        by: who has decided; empty where that is not known.
        at: when, in seconds since the epoch; None where nobody has.
    """

    state: Standing = "none"
    by: str = ""
    at: float | None = None


class Reviews:
    """The decisions of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        version: str,
        verdict: Verdict,
        *,
        checkpoint: str = "",
        strength: float | None = None,
        comment: str = "",
        who: str = "",
    ) -> Decision:
        """Note what someone says about the version with this id.

        Raises:
            UserError: a value cannot be used.
        """
        decision = Decision(
            secrets.token_hex(6), version, verdict, checkpoint, strength, comment.strip(), who.strip(), _now()
        )
        _check(decision)
        with self._database.writing() as connection:
            marks = ", ".join("?" * len(vars(decision)))
            connection.execute(f"INSERT INTO reviews ({_COLUMNS}) VALUES ({marks})", list(vars(decision).values()))
        return decision

    def all(self, version: str) -> list[Decision]:
        """The decisions about a version, the newest first."""
        with self._database.reading() as connection:
            return _all(connection, version)

    def states(self, versions: Sequence[str]) -> dict[str, Reviewed]:
        """How each of the versions stands, by its id."""
        with self._database.reading() as connection:
            return {version: _state(_all(connection, version)) for version in versions}

    def approves(self, version: str, checkpoint: str, strength: float) -> bool:
        """Whether a file of a version at a strength is approved: by the last decision that is about it."""
        about = (one for one in self.all(version) if one.verdict != "comment" and one.applies(checkpoint, strength))
        last = next(about, None)
        return last is not None and last.verdict == "approved"


def _all(connection: sqlite3.Connection, version: str) -> list[Decision]:
    # By the order in which they were made: a clock can be set back.
    query = f"SELECT {_COLUMNS} FROM reviews WHERE version = ? ORDER BY rowid DESC"
    return [Decision(*row) for row in connection.execute(query, [version])]


def _state(decisions: Sequence[Decision]) -> Reviewed:
    last = next((one for one in decisions if one.verdict != "comment"), None)
    return Reviewed() if last is None else Reviewed(cast(Standing, last.verdict), last.who, last.created)


def _check(decision: Decision) -> None:
    if decision.verdict == "comment" and not decision.comment:
        raise UserError("comment: it is empty; write what is to be said.")
    if len(decision.comment) > _LONGEST_COMMENT:
        raise UserError(
            f"comment: it has {len(decision.comment)} characters, at most {_LONGEST_COMMENT} are kept; shorten it."
        )
    if len(decision.who) > _LONGEST_NAME or not decision.who.isprintable():
        raise UserError(f"who: it must be a name of at most {_LONGEST_NAME} characters on one line; correct it.")
