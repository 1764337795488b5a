"""From a product list to what is drawn of each product: the rule that fits, the prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..products import listing as listings
from ..products.columns import Columns
from ..products.glossary import Glossary
from ..products.listing import Listing
from ..products.product import Product
from ..products.prompts import compose
from ..products.rules import Match, Rules
from ..products.templates import Templates
from .product import Plan
from .settings import Settings
from .store import Catalogue, Changes, Planned


def read(settings: Settings, readable: Callable[[str], Path] | None = None) -> Listing:
    """The list of a catalogue with these settings, as it is now.

    Args:
        settings: their columns count; the others are guessed.
        readable: refuses, with a UserError, a path that may not be read; None where all may.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not settings.source:
        raise UserError("source: the catalogue's products were handed in; hand them in again.")
    return listings.read(Path(settings.source), Columns.from_dict(settings.columns), readable=readable)


def take(catalogue: Catalogue, settings: Settings, listing: Listing) -> Changes:
    """Let the catalogue have the products of a list, and remember which column is which field.

    Raises:
        UserError: a rule, template or word is wrong.
    """
    planned = Planner(settings).planned(listing.products)
    with catalogue.writing():
        changes = catalogue.update(planned, listing.problems)
        catalogue.write_settings(replace(settings, columns=listing.columns.to_dict(), folder=str(listing.folder)))
    return changes


class Planner:
    """The rules, templates and words of a catalogue.

    Attributes:
        rules: as they are now.
    """

    def __init__(self, settings: Settings) -> None:
        """Read them.

        Raises:
            UserError: one is wrong.
        """
        folder = Path(settings.rules_folder) if settings.rules_folder else None
        self.rules = Rules.from_dict(settings.rules, "rules", folder)
        self._templates = Templates.from_dict(settings.templates, "templates")
        self._glossary = Glossary.from_dict(settings.glossary, "glossary")
        self._negative = settings.negative_prompt

    def planned(self, products: Iterable[Product]) -> list[Planned]:
        """What is drawn of each of the products."""
        return [Planned(product, self.plan(product)) for product in products]

    def plan(self, product: Product) -> Plan:
        """What is drawn of a product; without a rule that fits, nothing unless a person says so."""
        match = self.rules.match(product)
        text = compose(product, match, self._templates, self._glossary)
        negative = ", ".join(filter(None, (self._negative, text.negative)))
        if match is None:
            return Plan(text.prompt, negative, warnings=tuple(text.warnings))
        return Plan(
            text.prompt, negative, match.rule, _loras(match), product.control or match.control, tuple(text.warnings)
        )


def _loras(match: Match) -> tuple[dict[str, str | float], ...]:
    return tuple({"file": one.file, "name": one.name, "weight": one.weight} for one in match.loras)
