"""Candidates: the images that are drawn of a product, each with a number and a seed of its own."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import random_streams
from ..errors import Conflict, NotFound, UserError
from .product import CatalogueProduct
from .store import Catalogue, refresh, refresh_all

CandidateState = Literal["waiting", "drawn", "failed"]
Verdict = Literal["", "approved", "rejected"]
#: left, top, right and bottom as shares of the sides
Crop = tuple[float, float, float, float]
#: where a product stands in the order of drawing: its LoRAs, its position, its id
Place = tuple[str, int, int]
MOST = 1000
_START: Place = ("", 0, 0)
_SEEDS = 2**32
_now = time.time


@dataclass(frozen=True)
class Candidate:
    """An image of a product.

    Attributes:
        product: its id.
        number: within the product, from 1.
        batch: number of those that are drawn together.
        file: its name in the folder of the candidates; empty before it is drawn.
        error: why it could not be drawn, as a sentence.
        facts: how it was drawn: prompt, negative, models with their hashes, size, sampler.
        verdict: of the last decision; empty where nobody has decided.
        crop: the part of it that is used; None for all of it.
        decision: number of the last decision, by which approved ones are in order; None where there is none.
        made: in seconds since the epoch.
    """

    id: int
    product: int
    number: int
    batch: int
    seed: int
    state: CandidateState
    file: str
    sha256: str
    error: str
    facts: dict[str, Any]
    verdict: Verdict
    crop: Crop | None
    decision: int | None
    made: float | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Candidate:
        """The candidate in a row of the table ``candidates``."""
        crop = tuple(json.loads(row["crop"])) if row["crop"] else None
        return cls(**{**dict(row), "facts": json.loads(row["facts"]), "crop": crop})

    def path(self, catalogue: Catalogue) -> Path:
        """Of its image."""
        return catalogue.images / self.file


def seed_of(seed: int, sku: str, number: int) -> int:
    """The seed of a candidate: of the catalogue's seed, the SKU and its number alone, whatever else is in the list."""
    digest = hashlib.sha256(sku.encode("utf-8", "surrogatepass")).digest()
    return random_streams.derive(seed, random_streams.CANDIDATE, int.from_bytes(digest[:8], "big"), number) % _SEEDS


def request(catalogue: Catalogue, count: int | None = None, products: Sequence[int] | None = None) -> int:
    """Let every product that is matched have ``count`` candidates, those that could not be drawn among them: they are
    tried again. Returns how many wait now that did not before.

    Args:
        catalogue: theirs.
        count: None takes that of the settings.
        products: ids; None for all products of the list.
    """
    settings = catalogue.settings()
    count = settings.candidates if count is None else count
    new = 0
    with catalogue.writing() as connection:
        for row in _of_list(connection, products):
            again = "UPDATE candidates SET state = 'waiting', error = '' WHERE product = ? AND state = 'failed'"
            new += connection.execute(again, [row["id"]]).rowcount
            new += _add(connection, row, settings.seed, max(count - (row["last"] or 0), 0))
        refresh_all(connection)
    return new


def add(catalogue: Catalogue, product: int, count: int = 1) -> list[Candidate]:
    """``count`` more candidates of a product, with numbers and seeds of their own.

    Raises:
        NotFound: there is no such product.
        Conflict: no rule fits it.
        UserError: there would be too many.
    """
    found = catalogue.get(product)
    if not found.matched:
        raise Conflict(f"{found.sku}: no rule fits this product; add a rule, or choose its LoRAs.")
    with catalogue.writing() as connection:
        row = next(iter(_of_list(connection, [product])), None)
        if row is None:
            raise Conflict(f"{found.sku}: this product is no longer in the list; put it back there.")
        if (row["last"] or 0) + count > MOST:
            raise UserError(
                f"count: a product has at most {MOST} candidates, {found.sku} has {row['last']}; add fewer."
            )
        _add(connection, row, catalogue.settings().seed, count)
        refresh(connection, product)
    return of_product(catalogue, product)[-count:]


def of_product(catalogue: Catalogue, product: int) -> list[Candidate]:
    """The candidates of a product, by number."""
    return of_products(catalogue, [product])[product]


def of_products(catalogue: Catalogue, products: Iterable[int]) -> dict[int, list[Candidate]]:
    """The candidates of each of the products, by number."""
    found: dict[int, list[Candidate]] = {product: [] for product in products}
    with catalogue.reading() as connection:
        for product, own in found.items():
            query = "SELECT * FROM candidates WHERE product = ? ORDER BY number"
            own += [Candidate.of(row) for row in connection.execute(query, [product])]
    return found


def get(catalogue: Catalogue, product: int, number: int) -> Candidate:
    """The candidate of a product with this number.

    Raises:
        NotFound: there is none.
    """
    with catalogue.reading() as connection:
        query = "SELECT * FROM candidates WHERE product = ? AND number = ?"
        row = connection.execute(query, [product, number]).fetchone()
    if row is None:
        raise NotFound(f"The product {product} has no candidate {number}; reload the list.")
    return Candidate.of(row)


def next_batch(catalogue: Catalogue, start: Place = _START) -> tuple[CatalogueProduct, list[Candidate], Place] | None:
    """The product whose candidates are to be drawn next, all of one batch, also what is drawn of it, and its place.

    Products with the same LoRAs come one after the other, in the order of the list.

    Args:
        catalogue: theirs.
        start: the place that is looked at first.
    """
    waits = "SELECT MIN(batch) FROM candidates WHERE product = products.id AND state = 'waiting'"
    query = (
        f"SELECT *, ({waits}) AS batch FROM products WHERE (loras, position, id) >= (?, ?, ?) AND listed AND matched "
        f"AND ({waits}) IS NOT NULL ORDER BY loras, position, id LIMIT 1"
    )
    with catalogue.reading() as connection:
        row = connection.execute(query, start).fetchone()
        if row is None:
            return None
        batch = "SELECT * FROM candidates WHERE product = ? AND batch = ? ORDER BY number"
        found = [Candidate.of(one) for one in connection.execute(batch, [row["id"], row["batch"]])]
    return CatalogueProduct.of(row), found, (row["loras"], row["position"], row["id"])


def waiting(catalogue: Catalogue) -> int:
    """How many candidates are still to be drawn."""
    query = (
        "SELECT COUNT(*) FROM candidates JOIN products ON candidates.product = products.id "
        "WHERE candidates.state = 'waiting' AND listed AND matched"
    )
    with catalogue.reading() as connection:
        return int(connection.execute(query).fetchone()[0])


def counts(catalogue: Catalogue) -> dict[CandidateState, int]:
    """How many candidates are in each state."""
    query = "SELECT state, COUNT(*) FROM candidates GROUP BY state"
    with catalogue.reading() as connection:
        found = dict(connection.execute(query).fetchall())
    return {"waiting": found.get("waiting", 0), "drawn": found.get("drawn", 0), "failed": found.get("failed", 0)}


@dataclass(frozen=True)
class Drawn:
    """What is to be noted of a candidate that has been drawn: file name, SHA-256 (hex) and facts."""

    candidate: Candidate
    file: str
    sha256: str
    facts: dict[str, Any]


def note_drawn(catalogue: Catalogue, drawn: Sequence[Drawn]) -> None:
    """Keep what has been drawn of one product."""
    with catalogue.writing() as connection:
        for one in drawn:
            connection.execute(
                "UPDATE candidates SET state = 'drawn', error = '', file = ?, sha256 = ?, facts = ?, made = ? "
                "WHERE id = ?",
                [one.file, one.sha256, json.dumps(one.facts, ensure_ascii=False), _now(), one.candidate.id],
            )
        refresh(connection, drawn[0].candidate.product)


def note_failed(catalogue: Catalogue, failed: Sequence[Candidate], sentence: str) -> None:
    """Keep why those of one product could not be drawn."""
    with catalogue.writing() as connection:
        connection.executemany(
            "UPDATE candidates SET state = 'failed', error = ? WHERE id = ?", [(sentence, one.id) for one in failed]
        )
        refresh(connection, failed[0].product)


def _of_list(connection: sqlite3.Connection, products: Sequence[int] | None) -> list[sqlite3.Row]:
    """Matched products of the list, each with the number of its last candidate and batch."""
    query = (
        "SELECT products.id, sku, MAX(number) AS last, MAX(batch) AS batch FROM products "
        "LEFT JOIN candidates ON candidates.product = products.id WHERE listed AND matched{} "
        "GROUP BY products.id ORDER BY position"
    )
    if products is None:
        return connection.execute(query.format("")).fetchall()
    rows = []
    for id in products:
        rows += connection.execute(query.format(" AND products.id = ?"), [id]).fetchall()
    return rows


def _add(connection: sqlite3.Connection, row: sqlite3.Row, seed: int, count: int) -> int:
    last, batch = row["last"] or 0, (row["batch"] or 0) + 1
    numbers = range(last + 1, last + 1 + count)
    connection.executemany(
        "INSERT INTO candidates (product, number, batch, seed) VALUES (?, ?, ?, ?)",
        [(row["id"], number, batch, seed_of(seed, row["sku"], number)) for number in numbers],
    )
    return count
