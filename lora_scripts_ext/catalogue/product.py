"""A product as a catalogue keeps it: its row of the list, what was planned for it, and what people have changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..products.product import Product

ProductState = Literal["ready", "unmatched", "waiting", "drawn", "failed", "approved", "rejected", "removed"]
STATES: tuple[ProductState, ...] = (
    "ready", "unmatched", "waiting", "drawn", "failed", "approved", "rejected", "removed",
)  # fmt: skip
#: what a person may change of a product
EDITABLE = ("prompt", "negative", "loras", "copy")


@dataclass(frozen=True)
class Plan:
    """What is to be drawn of a product.

    Attributes:
        rule: name of the one that fits; empty where none does.
        loras: each with ``file`` or ``name``, and ``weight``.
        control: path of an image for ControlNet; empty where there is none.
        warnings: sentences about the prompt.
        alt: alt texts of its images, by language.
    """

    prompt: str = ""
    negative: str = ""
    rule: str = ""
    loras: tuple[Mapping[str, Any], ...] = ()
    control: str = ""
    warnings: tuple[str, ...] = ()
    alt: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProductCopy:
    """What a shop says of a product.

    Attributes:
        points: selling points.
        language: of both: ``en`` or ``zh``.
        by: who wrote it last.
    """

    title: str
    points: tuple[str, ...]
    language: str
    by: Literal["service", "person"]

    def entry(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"title": self.title, "points": list(self.points), "language": self.language}


@dataclass(frozen=True)
class CatalogueProduct:
    """A product of a catalogue.

    Attributes:
        id: of the catalogue's own, the same for ever.
        plan: with what a person has changed.
        edited: what that is.
        matched: whether a rule fits it, or a person has said which LoRAs it gets.
        copy: None where there is none.
    """

    id: int
    position: int
    product: Product
    plan: Plan
    edited: tuple[str, ...]
    matched: bool
    state: ProductState
    copy: ProductCopy | None = None

    @property
    def sku(self) -> str:
        """Of the product."""
        return self.product.sku

    @classmethod
    def of(cls, row: sqlite3.Row) -> CatalogueProduct:
        """The product in a row of the table ``products``."""
        data, plan, edits = (json.loads(row[name]) for name in ("data", "plan", "edits"))
        product, effective = product_of({**data, "row": row["row"]}), plan_of({**plan, **edits})
        copy = copy_of(row["copy"])
        edited = {*edits, "copy"} if copy is not None and copy.by == "person" else {*edits}
        return cls(
            row["id"],
            row["position"],
            product,
            effective,
            tuple(key for key in EDITABLE if key in edited),
            bool(row["matched"]),
            row["state"],
            copy,
        )


def to_json(value: Product | Plan) -> str:
    """For the column of a table, without the row of the list, which has its own; the same text for the same values."""
    fields = {
        name: dict(one) if isinstance(one, Mapping) else one for name, one in vars(value).items() if name != "row"
    }
    return json.dumps(fields, ensure_ascii=False, sort_keys=True)


def product_of(values: dict[str, Any]) -> Product:
    """The product that :func:`to_json` has written."""
    return Product(**{**values, "tags": tuple(values["tags"])})


def plan_of(values: dict[str, Any]) -> Plan:
    """Likewise, a plan."""
    lists = {name: tuple(values[name]) for name in ("loras", "warnings")}
    return Plan(**{**values, **lists})


def copy_to_json(copy: ProductCopy) -> str:
    """For the column of a table."""
    return json.dumps(vars(copy), ensure_ascii=False)


def copy_of(text: str) -> ProductCopy | None:
    """The copy that :func:`copy_to_json` has written; None of an empty text."""
    if not text:
        return None
    values = json.loads(text)
    return ProductCopy(**{**values, "points": tuple(values["points"])})


def key_of(plan: Plan) -> str:
    """The same text for two products that are drawn with the same LoRAs."""
    return json.dumps(list(map(dict, plan.loras)), sort_keys=True) if plan.loras else ""
