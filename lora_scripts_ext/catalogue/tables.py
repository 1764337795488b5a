"""The tables of a catalogue's SQLite file."""

from __future__ import annotations

# Times are seconds since the epoch, for display; what came first is decided by ids, as a clock can be set back.
_FIRST = """
CREATE TABLE settings (
    key          TEXT PRIMARY KEY,
    value        TEXT NOT NULL
);

CREATE TABLE products (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    position     INTEGER NOT NULL,
    row          INTEGER NOT NULL,
    sku          TEXT NOT NULL UNIQUE,
    category     TEXT NOT NULL,
    search       TEXT NOT NULL,
    data         TEXT NOT NULL,
    plan         TEXT NOT NULL,
    edits        TEXT NOT NULL DEFAULT '{}',
    loras        TEXT NOT NULL,
    matched      INTEGER NOT NULL,
    listed       INTEGER NOT NULL DEFAULT 1,
    state        TEXT NOT NULL DEFAULT 'ready'
);
CREATE INDEX products_loras ON products (loras, position, id);
CREATE INDEX products_position ON products (position, id);
CREATE INDEX products_state ON products (state, position, id);
CREATE INDEX products_category ON products (category, position, id);

CREATE TABLE problems (
    row          INTEGER NOT NULL,
    field        TEXT NOT NULL,
    sentence     TEXT NOT NULL
);

CREATE TABLE candidates (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    product      INTEGER NOT NULL REFERENCES products(id),
    number       INTEGER NOT NULL,
    batch        INTEGER NOT NULL,
    seed         INTEGER NOT NULL,
    state        TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'drawn', 'failed')),
    file         TEXT NOT NULL DEFAULT '',
    sha256       TEXT NOT NULL DEFAULT '',
    error        TEXT NOT NULL DEFAULT '',
    facts        TEXT NOT NULL DEFAULT '{}',
    verdict      TEXT NOT NULL DEFAULT '',
    crop         TEXT NOT NULL DEFAULT '',
    decision     INTEGER,
    made         REAL,
    UNIQUE (product, number)
);
CREATE INDEX candidates_state ON candidates (state);
CREATE INDEX candidates_waiting ON candidates (product) WHERE state = 'waiting';
CREATE INDEX candidates_approved ON candidates (product) WHERE verdict = 'approved';

CREATE TABLE decisions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    candidate    INTEGER NOT NULL REFERENCES candidates(id),
    verdict      TEXT NOT NULL CHECK (verdict IN ('approved', 'rejected', 'undecided', 'comment')),
    comment      TEXT NOT NULL,
    crop         TEXT NOT NULL,
    who          TEXT NOT NULL,
    created      REAL NOT NULL
);
CREATE INDEX decisions_candidate ON decisions (candidate);
"""

_COPY = """
ALTER TABLE products ADD COLUMN copy TEXT NOT NULL DEFAULT '';
"""

#: SQL from one version to the next
MIGRATIONS: tuple[str, ...] = (_FIRST, _COPY)

#: how a product stands, by the first of these that is true
STATE = """CASE
    WHEN NOT listed THEN 'removed'
    WHEN EXISTS (SELECT 1 FROM candidates c WHERE c.product = products.id AND c.verdict = 'approved') THEN 'approved'
    WHEN EXISTS (SELECT 1 FROM candidates c WHERE c.product = products.id AND c.state = 'waiting') THEN 'waiting'
    WHEN EXISTS (SELECT 1 FROM candidates c WHERE c.product = products.id AND c.state = 'drawn' AND c.verdict = '')
        THEN 'drawn'
    WHEN EXISTS (SELECT 1 FROM candidates c WHERE c.product = products.id AND c.state = 'failed') THEN 'failed'
    WHEN EXISTS (SELECT 1 FROM candidates c WHERE c.product = products.id) THEN 'rejected'
    WHEN NOT matched THEN 'unmatched'
    ELSE 'ready'
END"""
