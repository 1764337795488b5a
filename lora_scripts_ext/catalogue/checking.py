"""A product list tried with its rules and templates, before anything is drawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..products.listing import Listing
from .planning import Planner

_MOST_NAMED = 1000
_MOST_TERMS = 200


def check(planner: Planner, listing: Listing) -> dict[str, Any]:
    """What would come of the list, ready for JSON: rows that cannot be used, how many products each rule fits, products
    that none fits, warnings about rules and prompts, terms that the glossary does not have, and what the first products
    of each rule would be drawn with."""
    trial = planner.rules.tried(listing.products)
    warnings: list[dict[str, str]] = []
    examples: dict[str, dict[str, Any]] = {}
    for one in planner.planned(listing.products):
        warnings += [{"sku": one.product.sku, "sentence": text} for text in one.plan.warnings if text]
        examples.setdefault(one.plan.rule, {"sku": one.product.sku, **vars(one.plan)})
    return {
        "products": len(listing.products), "columns": listing.columns.to_dict(), "headers": listing.headers,
        "problems": [asdict(one) for one in listing.problems[:_MOST_NAMED]], "rules": dict(trial.counts),
        "unmatched": list(trial.unmatched[:_MOST_NAMED]), "unmatched_count": len(trial.unmatched),
        "unused": list(trial.unused), "warnings": [*trial.warnings, *planner.lora_problems()],
        "prompts": warnings[:_MOST_NAMED],
        "unknown": [{"term": term, "products": count} for term, count in planner.unknown.most_common(_MOST_TERMS)],
        "examples": [one for rule, one in examples.items() if rule],
    }  # fmt: skip
