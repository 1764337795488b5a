"""``Idempotency-Key``: a request that is sent again, as its answer was lost, is answered but not done again."""

from __future__ import annotations

import hashlib
import time
from contextvars import ContextVar
from dataclasses import dataclass

from ..library.database import Database
from ..owner import Owner, tag_is_alive
from .errors import Problem

KEPT_SECONDS = 48 * 3600.0
# How long a request may take on another machine, where cannot be seen whether the server still runs.
_UNKNOWN_SECONDS = 600.0
_LONGEST = 200


@dataclass(frozen=True)
class Answer:
    """What is kept of an answer."""

    status: int
    body: str
    location: str


@dataclass
class Attempt:
    """A request with a key that is being done; ``kept``: its answer is in the library already."""

    key: str
    client: str
    kept: bool = False


_current: ContextVar[Attempt | None] = ContextVar("lora_trainer_idempotency", default=None)


def check(key: str) -> str:
    """``key``, if it can be one.

    Raises:
        Problem: it cannot.
    """
    if not 0 < len(key) <= _LONGEST or not key.isascii() or not key.isprintable():
        raise Problem(
            "bad_request",
            f"Idempotency-Key: it must have 1 to {_LONGEST} printable ASCII characters; a UUID is a good one.",
            field="Idempotency-Key",
        )
    return key


def digest(method: str, path: str, body: bytes) -> str:
    """By which a request is known again."""
    return hashlib.sha256(b"\0".join([method.encode(), path.encode("utf-8", "surrogatepass"), body])).hexdigest()


class Requests:
    """The requests of the last two days that had a key. Methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, client: str, digest: str) -> Attempt | Answer:
        """Either the answer that was given already, or the right to do the request.

        Raises:
            Problem: the key belongs to another request, or this one is being done.
        """
        now = time.time()
        with self._database.writing() as connection:
            # A clock that was set back must not keep them for ever.
            connection.execute("DELETE FROM requests WHERE ABS(created - ?) > ?", [now, KEPT_SECONDS])
            row = connection.execute(
                "SELECT digest, status, body, location, owner, created FROM requests WHERE key = ? AND client = ?",
                [key, client],
            ).fetchone()
            if row is not None and row["digest"] != digest:
                text = "This Idempotency-Key was used for another request; use a new one."
                raise Problem("key_reused", text, field="Idempotency-Key")
            if row is not None and row["status"] is not None:
                return Answer(row["status"], row["body"], row["location"])
            if row is not None and _is_going_on(row["owner"], now - row["created"]):
                text = "The first request with this Idempotency-Key is still being done; send it again in a second."
                raise Problem("request_in_progress", text, field="Idempotency-Key", headers={"Retry-After": "1"})
            # That of a server that was ended before it had done anything: what it did would be there with its answer.
            connection.execute("DELETE FROM requests WHERE key = ? AND client = ?", [key, client])
            connection.execute(
                "INSERT INTO requests (key, client, digest, owner, created) VALUES (?, ?, ?, ?, ?)",
                [key, client, digest, Owner.current().tag(), now],
            )
        return Attempt(key, client)

    def enter(self, attempt: Attempt) -> None:
        """From now on ``keep`` in this task means this attempt."""
        _current.set(attempt)

    def keep(self, answer: Answer) -> None:
        """Keep the answer of the request that is being done; to be called in the transaction that does it, so that
        both are there or none."""
        attempt = _current.get()
        if attempt is not None:
            self._write(attempt, answer)

    def end(self, attempt: Attempt, answer: Answer | None) -> None:
        """The request is done, or, without an answer, has changed nothing and may be sent again."""
        if answer is not None:
            if not attempt.kept:
                self._write(attempt, answer)
            return
        with self._database.writing() as connection:
            # What ``keep`` wrote may have been rolled back with the rest.
            connection.execute(
                "DELETE FROM requests WHERE key = ? AND client = ? AND status IS NULL", [attempt.key, attempt.client]
            )

    def _write(self, attempt: Attempt, answer: Answer) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE requests SET status = ?, body = ?, location = ? WHERE key = ? AND client = ?",
                [answer.status, answer.body, answer.location, attempt.key, attempt.client],
            )
        attempt.kept = True


def _is_going_on(owner: str, age: float) -> bool:
    alive = tag_is_alive(owner)
    return age < _UNKNOWN_SECONDS if alive is None else alive
