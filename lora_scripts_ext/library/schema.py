"""The tables of the library, and how an older file becomes the current one. docs/library.md describes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

# Times are seconds since the epoch, for display and for schedules; what came first is decided by `seq` and `position`,
# as a clock can be set back.
_FIRST = """
CREATE TABLE models (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE COLLATE NOCASE,
    kind         TEXT NOT NULL,
    trigger_word TEXT NOT NULL DEFAULT '',
    folder       TEXT NOT NULL DEFAULT '',
    config       TEXT NOT NULL DEFAULT '{}',
    created      REAL NOT NULL,
    changed      REAL NOT NULL
);

CREATE TABLE jobs (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN
                     ('queued', 'starting', 'running', 'stopping', 'done', 'failed', 'stopped', 'cancelled')),
    reason       TEXT NOT NULL DEFAULT '',
    priority     INTEGER NOT NULL DEFAULT 0,
    position     REAL NOT NULL,
    config       TEXT NOT NULL,
    source       TEXT NOT NULL DEFAULT '',
    output_dir   TEXT NOT NULL DEFAULT '',
    runner       TEXT NOT NULL DEFAULT '',
    model        TEXT REFERENCES models(id) ON DELETE SET NULL,
    after        TEXT REFERENCES jobs(id) ON DELETE SET NULL,
    not_before   REAL,
    window       TEXT NOT NULL DEFAULT '',
    fence        INTEGER NOT NULL DEFAULT 0,
    begun        INTEGER NOT NULL DEFAULT 0,
    stop         TEXT NOT NULL DEFAULT '',
    crashes      INTEGER NOT NULL DEFAULT 0,
    deaths       INTEGER NOT NULL DEFAULT 0,
    retry_at     REAL,
    progress     TEXT NOT NULL DEFAULT '{}',
    result       TEXT NOT NULL DEFAULT '{}',
    created      REAL NOT NULL,
    changed      REAL NOT NULL
);
CREATE INDEX jobs_queue ON jobs (state, priority DESC, position);
CREATE INDEX jobs_created ON jobs (created);
CREATE INDEX jobs_after ON jobs (after);
CREATE INDEX jobs_model ON jobs (model);

CREATE TABLE attempts (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    job          TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
    fence        INTEGER NOT NULL,
    lane         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    pid_started  TEXT NOT NULL,
    host         TEXT NOT NULL,
    beat         INTEGER NOT NULL DEFAULT 0,
    best_step    INTEGER NOT NULL DEFAULT 0,
    started      REAL NOT NULL,
    ended        REAL,
    outcome      TEXT NOT NULL DEFAULT '',
    reason       TEXT NOT NULL DEFAULT '',
    UNIQUE (job, fence)
);
CREATE INDEX attempts_open ON attempts (lane) WHERE ended IS NULL;

CREATE TABLE changes (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    job          TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
    at           REAL NOT NULL,
    state        TEXT NOT NULL,
    reason       TEXT NOT NULL
);
CREATE INDEX changes_job ON changes (job, seq);

CREATE TABLE versions (
    id           TEXT PRIMARY KEY,
    model        TEXT NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    job          TEXT REFERENCES jobs(id) ON DELETE SET NULL,
    parent       TEXT REFERENCES versions(id) ON DELETE SET NULL,
    file         TEXT NOT NULL,
    sha256       TEXT NOT NULL DEFAULT '',
    published    TEXT NOT NULL DEFAULT '',
    facts        TEXT NOT NULL DEFAULT '{}',
    created      REAL NOT NULL,
    UNIQUE (model, number)
);
CREATE UNIQUE INDEX versions_job ON versions (job);

CREATE TABLE watches (
    id           TEXT PRIMARY KEY,
    model        TEXT NOT NULL UNIQUE REFERENCES models(id) ON DELETE CASCADE,
    folder       TEXT NOT NULL,
    config       TEXT NOT NULL DEFAULT '{}',
    state        TEXT NOT NULL DEFAULT '{}',
    created      REAL NOT NULL,
    changed      REAL NOT NULL
);

CREATE TABLE settings (
    key          TEXT PRIMARY KEY,
    value        TEXT NOT NULL
);

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    digest       TEXT NOT NULL UNIQUE,
    scope        TEXT NOT NULL CHECK (scope IN ('read', 'write')),
    created      REAL NOT NULL,
    revoked      REAL
);

CREATE TABLE requests (
    key          TEXT NOT NULL,
    client       TEXT NOT NULL,
    digest       TEXT NOT NULL,
    status       INTEGER,
    body         TEXT NOT NULL DEFAULT '',
    location     TEXT NOT NULL DEFAULT '',
    owner        TEXT NOT NULL,
    created      REAL NOT NULL,
    PRIMARY KEY (key, client)
);

CREATE TABLE uploads (
    id           TEXT PRIMARY KEY,
    model        TEXT NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    size         INTEGER NOT NULL,
    sha256       TEXT NOT NULL DEFAULT '',
    created      REAL NOT NULL,
    changed      REAL NOT NULL
);

CREATE TABLE deliveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    hook         TEXT NOT NULL,
    body         TEXT NOT NULL,
    tries        INTEGER NOT NULL DEFAULT 0,
    next_try     REAL NOT NULL,
    outcome      TEXT NOT NULL DEFAULT '',
    created      REAL NOT NULL
);
CREATE INDEX deliveries_open ON deliveries (next_try) WHERE outcome = '';
"""

_REVIEWS = """
ALTER TABLE models ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE models ADD COLUMN retired REAL;
ALTER TABLE versions ADD COLUMN origin TEXT NOT NULL DEFAULT 'training';
CREATE INDEX versions_sha256 ON versions (sha256);

CREATE TABLE reviews (
    id           TEXT PRIMARY KEY,
    version      TEXT NOT NULL REFERENCES versions(id) ON DELETE CASCADE,
    checkpoint   TEXT NOT NULL DEFAULT '',
    strength     REAL,
    verdict      TEXT NOT NULL CHECK (verdict IN ('requested', 'approved', 'rejected', 'comment')),
    comment      TEXT NOT NULL DEFAULT '',
    who          TEXT NOT NULL DEFAULT '',
    created      REAL NOT NULL
);
CREATE INDEX reviews_version ON reviews (version);

CREATE TABLE publications (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    model        TEXT NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    version      TEXT NOT NULL REFERENCES versions(id) ON DELETE CASCADE,
    file         TEXT NOT NULL,
    strength     REAL,
    path         TEXT NOT NULL,
    who          TEXT NOT NULL DEFAULT '',
    created      REAL NOT NULL,
    withdrawn    REAL
);
CREATE INDEX publications_model ON publications (model, seq);
CREATE INDEX publications_version ON publications (version);
"""

#: SQL from one version to the next; the file's version is the number of those that it has been through
MIGRATIONS: tuple[str, ...] = (_FIRST, _REVIEWS)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Bring the tables to the current version, each step in a transaction of its own."""
    while (done := version(connection)) < len(migrations):
        # Another process may do the same: who comes second finds it done.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version(connection) == done:
                for statement in _statements(migrations[done]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {done + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has been through."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> list[str]:
    """The statements of a script one by one: ``executescript`` would commit the transaction."""
    statements, pending = [], ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
