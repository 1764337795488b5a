"""A catalogue: a folder with one SQLite file and the images of its candidates."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import NotFound, UserError
from ..library import schema
from ..library.connections import Connections
from ..products.listing import Problem
from ..products.product import Product
from . import settings as settings_module
from .product import (
    EDITABLE,
    STATES,
    CatalogueProduct,
    Plan,
    ProductCopy,
    ProductState,
    copy_of,
    copy_to_json,
    key_of,
    plan_of,
    to_json,
)
from .settings import Settings
from .tables import MIGRATIONS, STATE

NAME = "catalogue.sqlite"
#: folder of a library's catalogues in its data folder
FOLDER = "catalogues"
_CANDIDATES = "candidates"
_LONGEST_PROMPT = 4000
_LONGEST_TITLE, _LONGEST_POINT, _MOST_POINTS = 300, 500, 20
_LANGUAGES = ("en", "zh")
# In the table of settings beside those that users change.
_CREATED, _READ_AS = "created", "read_as"
_now = time.time


@dataclass(frozen=True)
class Planned:
    """A product of the list with what is to be drawn of it."""

    product: Product
    plan: Plan


@dataclass(frozen=True)
class Changes:
    """SKUs whose products came, differ or went when the list was read again."""

    added: list[str]
    changed: list[str]
    removed: list[str]


@dataclass(frozen=True)
class ProductPage:
    """A part of the products; ``next``: the cursor of the next part, None at the end."""

    products: list[CatalogueProduct]
    next: str | None


class Catalogue:
    """The catalogue in ``folder``. Methods may be called from any thread and process."""

    def __init__(self, folder: Path, database: Connections) -> None:
        self.folder = folder
        self._database = database

    @classmethod
    def create(cls, folder: Path, settings: Settings) -> Catalogue:
        """A new one without products.

        Raises:
            UserError: there is one already, or the folder cannot be written.
        """
        if (folder / NAME).exists():
            raise UserError(f"{folder}: there is a catalogue in this folder already; choose another, or use that one.")
        catalogue = cls._opened(folder, create=True)
        catalogue.write_settings(settings)
        with catalogue.writing() as connection:
            _set(connection, _CREATED, _now())
        return catalogue

    @classmethod
    def open(cls, folder: Path) -> Catalogue:
        """The one in ``folder``.

        Raises:
            NotFound: there is none.
            UserError: it cannot be read, or was written by a newer version.
        """
        if not (folder / NAME).is_file():
            raise NotFound(f"{folder}: there is no catalogue in this folder; check the path.")
        return cls._opened(folder, create=False)

    @classmethod
    def _opened(cls, folder: Path, create: bool) -> Catalogue:
        database = Connections(folder / NAME)
        try:
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            connection = database.connection()
            if schema.version(connection) > len(MIGRATIONS):
                raise UserError(f"{database.path} was written by a newer LoRA Trainer; update this one.")
            schema.migrate(connection, MIGRATIONS)
        except (OSError, sqlite3.DatabaseError) as error:
            database.close()
            raise UserError(
                f"{database.path}: the catalogue cannot be opened ({getattr(error, 'strerror', '') or error}); check "
                "the folder, its rights and the free space."
            ) from error
        return cls(folder, database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """See ``Connections.reading``."""
        return self._database.reading()

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """See ``Connections.writing``."""
        return self._database.writing()

    @property
    def images(self) -> Path:
        """The folder of the candidates."""
        return self.folder / _CANDIDATES

    def settings(self) -> Settings:
        """As they are now."""
        with self.reading() as connection:
            query = "SELECT key, value FROM settings WHERE key NOT IN (?, ?)"
            rows = connection.execute(query, [_CREATED, _READ_AS]).fetchall()
        return settings_module.from_dict({key: json.loads(value) for key, value in rows}, str(self._database.path))

    def write_settings(self, settings: Settings) -> None:
        """Keep them."""
        with self.writing() as connection:
            for key, value in asdict(settings).items():
                _set(connection, key, value)

    def created(self) -> float:
        """When it was made, in seconds since the epoch."""
        return float(self._fact(_CREATED) or 0.0)

    def read_as(self) -> dict[str, str]:
        """Which column was taken for which field when the list was read last."""
        return dict(self._fact(_READ_AS) or {})

    def write_read_as(self, columns: Mapping[str, str]) -> None:
        """Keep that."""
        with self.writing() as connection:
            _set(connection, _READ_AS, dict(columns))

    def _fact(self, key: str) -> Any:
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = ?", [key]).fetchone()
        return json.loads(row[0]) if row else None

    def update(self, products: Iterable[Planned], problems: Sequence[Problem]) -> Changes:
        """Take the products of the list as they are now, by their SKUs.

        What people have changed and decided stays, and so do candidates. A product that is no longer in the list is
        kept aside until it is in it again.
        """
        with self.writing() as connection:
            known = {row["sku"]: row for row in connection.execute("SELECT * FROM products")}
            changes = Changes([], [], [])
            seen = set()
            for position, one in enumerate(products, 1):
                seen.add(one.product.sku)
                _take(connection, known.get(one.product.sku), one, position, changes)
            for sku, row in known.items():
                if sku not in seen and row["listed"]:
                    changes.removed.append(sku)
                    connection.execute("UPDATE products SET listed = 0 WHERE id = ?", [row["id"]])
            refresh_all(connection)
            connection.execute("DELETE FROM problems")
            rows = [(one.row, one.column, one.sentence) for one in problems]
            connection.executemany("INSERT INTO problems VALUES (?, ?, ?)", rows)
        return changes

    def problems(self) -> list[Problem]:
        """What was wrong with rows of the list when it was read last."""
        with self.reading() as connection:
            rows = connection.execute("SELECT row, field, sentence FROM problems ORDER BY rowid").fetchall()
        return [Problem(*row) for row in rows]

    def page(
        self, *, state: str = "", category: str = "", search: str = "", limit: int = 100, cursor: str = ""
    ) -> ProductPage:
        """Products in the order of the list; those that are no longer in it only with that ``state``.

        ``search``: a part of the SKU, the title, the tags or another column.

        Raises:
            UserError: the cursor is none of this list.
        """
        wanted, values = _filter(state, category, search)
        position, id = _place(cursor)
        query = (
            f"SELECT * FROM products WHERE {' AND '.join([*wanted, '(position, id) > (?, ?)'])} "
            "ORDER BY position, id LIMIT ?"
        )
        with self.reading() as connection:
            rows = connection.execute(query, [*values, position, id, limit + 1]).fetchall()
        found = [CatalogueProduct.of(row) for row in rows[:limit]]
        more = len(rows) > limit
        return ProductPage(found, f"{found[-1].position}-{found[-1].id}" if more else None)

    def get(self, id: int) -> CatalogueProduct:
        """The product with this id.

        Raises:
            NotFound: there is none.
        """
        return self._one("id", id)

    def by_sku(self, sku: str) -> CatalogueProduct:
        """The product with this SKU.

        Raises:
            NotFound: there is none.
        """
        return self._one("sku", sku)

    def _one(self, column: str, value: Any) -> CatalogueProduct:
        with self.reading() as connection:
            row = connection.execute(f"SELECT * FROM products WHERE {column} = ?", [value]).fetchone()
        if row is None:
            raise NotFound(f"The catalogue has no product with the {column} {value}; reload the list.")
        return CatalogueProduct.of(row)

    def counts(self) -> dict[ProductState, int]:
        """How many products are in each state."""
        with self.reading() as connection:
            found = dict(connection.execute("SELECT state, COUNT(*) FROM products GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in STATES}

    def categories(self) -> list[str]:
        """Those that products have, by name."""
        query = "SELECT DISTINCT category FROM products WHERE category != '' ORDER BY category"
        with self.reading() as connection:
            return [row[0] for row in connection.execute(query)]

    def edit(self, id: int, changes: Mapping[str, Any]) -> CatalogueProduct:
        """Keep what a person has changed of a product: ``prompt``, ``negative``, ``loras``, ``copy``; None takes
        a change back, and leaves no copy.

        It counts for the candidates that are not drawn yet.

        Raises:
            NotFound: there is no such product.
            UserError: a value cannot be used.
        """
        with self.writing() as connection:
            row = connection.execute("SELECT * FROM products WHERE id = ?", [id]).fetchone()
            if row is None:
                raise NotFound(f"The catalogue has no product with the id {id}; reload the list.")
            edits = json.loads(row["edits"])
            if "copy" in changes:
                copy = _checked_copy(changes["copy"]) if changes["copy"] is not None else None
                text = copy_to_json(copy) if copy is not None else ""
                connection.execute("UPDATE products SET copy = ? WHERE id = ?", [text, id])
            for key, value in changes.items():
                if key == "copy":
                    continue
                edits.pop(key, None)
                if value is not None:
                    edits[key] = _checked_edit(key, value)
            _write_edits(connection, row, edits)
        return self.get(id)


def refresh(connection: sqlite3.Connection, product: int) -> None:
    """Bring the state of a product up to date, after a change of its candidates."""
    connection.execute(f"UPDATE products SET state = {STATE} WHERE id = ?", [product])


def refresh_all(connection: sqlite3.Connection) -> None:
    """Likewise, of all products."""
    connection.execute(f"UPDATE products SET state = {STATE} WHERE state IS NOT {STATE}")


def _set(connection: sqlite3.Connection, key: str, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", [key, text])


def _take(
    connection: sqlite3.Connection, known: sqlite3.Row | None, one: Planned, position: int, changes: Changes
) -> None:
    """Write a product of the list, and note whether it is new or another one than before."""
    product, plan = one.product, to_json(one.plan)
    values: dict[str, Any] = {"data": to_json(product), "plan": plan, "listed": 1}
    if known is None:
        changes.added.append(product.sku)
    elif any(known[key] != value for key, value in values.items()):
        changes.changed.append(product.sku)
    elif (known["position"], known["row"]) == (position, product.row):
        return
    edits = json.loads(known["edits"]) if known is not None else {}
    effective = plan_of({**json.loads(plan), **edits}) if edits else one.plan
    values |= {
        "position": position, "row": product.row, "sku": product.sku, "category": product.category,
        "search": _search(product), "loras": key_of(effective), "matched": _is_matched(effective, edits),
    }  # fmt: skip
    if known is None:
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO products ({', '.join(values)}) VALUES ({marks})", list(values.values()))
        return
    copy = copy_of(known["copy"])
    if copy is not None and copy.by == "service" and known["data"] != values["data"]:
        # It may speak of what the product is no more.
        values["copy"] = ""
    pairs = ", ".join(f"{key} = ?" for key in values)
    connection.execute(f"UPDATE products SET {pairs} WHERE id = ?", [*values.values(), known["id"]])


def _search(product: Product) -> str:
    parts = (product.sku, product.title, product.category, *product.tags, *product.attributes.values())
    return "\n".join(filter(None, parts)).casefold()


def _filter(state: str, category: str, search: str) -> tuple[list[str], list[Any]]:
    """Conditions of a query on ``products``, and their values."""
    wanted, values = (["state = ?"], [state]) if state else (["listed"], list[Any]())
    if category:
        wanted.append("category = ?")
        values.append(category)
    if search.strip():
        # Not LIKE, for which % and _ are no letters.
        wanted.append("instr(search, ?) > 0")
        values.append(search.strip().casefold())
    return wanted, values


def _place(cursor: str) -> tuple[int, int]:
    """Position and id of the last product of the page before."""
    parts = cursor.split("-") if cursor else ["0", "0"]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise UserError(f"cursor: {cursor[:40]!r} is none of this list; leave it out to begin at the start.")
    return int(parts[0]), int(parts[1])


def _checked_edit(key: str, value: Any) -> Any:
    if key not in EDITABLE:
        raise UserError(f"{key[:40]}: this cannot be changed of a product; the keys are {', '.join(EDITABLE)}.")
    if key == "loras":
        return [_checked_lora(one) for one in value]
    if len(value) > _LONGEST_PROMPT:
        raise UserError(f"{key}: it has {len(value)} characters, at most {_LONGEST_PROMPT} are kept; shorten it.")
    return value.strip()


def _checked_copy(value: Mapping[str, Any]) -> ProductCopy:
    title = " ".join(str(value.get("title") or "").split())
    points = tuple(filter(None, (" ".join(str(one).split()) for one in value.get("points") or ())))
    language = str(value.get("language") or _LANGUAGES[0])
    if not title:
        raise UserError("copy: it has no title; write one, or take the copy back with null.")
    if len(title) > _LONGEST_TITLE or len(points) > _MOST_POINTS or any(len(one) > _LONGEST_POINT for one in points):
        raise UserError(
            f"copy: at most {_LONGEST_TITLE} characters of a title and {_MOST_POINTS} points of {_LONGEST_POINT} "
            "characters each are kept; shorten it."
        )
    if language not in _LANGUAGES:
        raise UserError(f"copy: language is {language[:40]!r}; it must be {' or '.join(_LANGUAGES)}.")
    return ProductCopy(title, points, language, "person")


def _checked_lora(value: Mapping[str, Any]) -> dict[str, Any]:
    file, name, weight = str(value.get("file") or ""), str(value.get("name") or ""), float(value.get("weight", 1.0))
    if bool(file) == bool(name):
        raise UserError("loras: each needs a file or a name, not both; correct it.")
    if not -10 <= weight <= 10:
        raise UserError(f"loras: weight is {weight:g}; it must be from -10 to 10.")
    return {"file": file, "name": name, "weight": weight}


def _is_matched(plan: Plan, edits: Mapping[str, Any]) -> bool:
    """Whether a rule fits the product, or a person has said which LoRAs it gets."""
    return bool(plan.rule) or "loras" in edits


def _write_edits(connection: sqlite3.Connection, row: sqlite3.Row, edits: dict[str, Any]) -> None:
    plan = json.loads(row["plan"])
    effective = plan_of({**plan, **edits})
    connection.execute(
        "UPDATE products SET edits = ?, loras = ?, matched = ? WHERE id = ?",
        [json.dumps(edits, ensure_ascii=False), key_of(effective), _is_matched(effective, edits), row["id"]],
    )
    refresh(connection, row["id"])
