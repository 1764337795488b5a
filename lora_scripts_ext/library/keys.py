"""Keys of the API: 256 random bits each, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from ..errors import NotFound, UserError
from .database import Database

_PREFIX = "lt_"
_MAX_NAME = 100


@dataclass(frozen=True)
class Key:
    """A key without its secret; times in seconds since the epoch."""

    id: str
    name: str
    scope: Literal["read", "write"]
    created: float
    revoked: float | None


class Keys:
    """The keys of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, scope: Literal["read", "write"]) -> tuple[Key, str]:
        """A new key and its secret, which cannot be found out again.

        Raises:
            UserError: the name is empty or too long.
        """
        if not 0 < len(name.strip()) <= _MAX_NAME:
            raise UserError(f"name: it must have 1 to {_MAX_NAME} characters; say what the key is for.")
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = Key(secrets.token_hex(4), name.strip(), scope, time.time(), None)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO api_keys (id, name, digest, scope, created) VALUES (?, ?, ?, ?, ?)",
                [key.id, key.name, _digest(secret), key.scope, key.created],
            )
        return key, secret

    def all(self) -> list[Key]:
        """Every key, oldest first, the revoked ones, too."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, name, scope, created, revoked FROM api_keys ORDER BY created, rowid")
            return [Key(*row) for row in rows]

    def usable(self) -> bool:
        """Whether there is a key that is not revoked."""
        return any(key.revoked is None for key in self.all())

    def find(self, secret: str) -> Key | None:
        """The key with this secret; None where there is none, or it is revoked."""
        # Looked up by its digest: how long that takes says nothing about the secret.
        query = "SELECT id, name, scope, created, revoked FROM api_keys WHERE digest = ? AND revoked IS NULL"
        with self._database.reading() as connection:
            row = connection.execute(query, [_digest(secret)]).fetchone()
        return None if row is None else Key(*row)

    def revoke(self, key: str) -> Key:
        """Let a key count no more.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.writing() as connection:
            connection.execute("UPDATE api_keys SET revoked = COALESCE(revoked, ?) WHERE id = ?", [time.time(), key])
            row = connection.execute(
                "SELECT id, name, scope, created, revoked FROM api_keys WHERE id = ?", [key]
            ).fetchone()
        if row is None:
            raise NotFound(f"There is no key {key}; `keys list` shows them all.")
        return Key(*row)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
