"""From a product list to what is drawn of each product: the rule that fits, the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..products import data_file
from ..products import listing as listings
from ..products.columns import Columns
from ..products.glossary import Glossary
from ..products.listing import Listing
from ..products.mappings import Mappings
from ..products.product import FILES, Product, located
from ..products.prompts import compose
from ..products.rules import Match, Rules
from ..products.safety import WordList
from ..products.templates import Templates
from . import alt
from .loras import Loras
from .product import Plan
from .settings import Settings
from .store import Catalogue, Changes, Planned

_PAGE = 1000


def read(
    settings: Settings, readable: Callable[[str], Path] | None = None, mappings: Mappings | None = None
) -> Listing:
    """The list of a catalogue with these settings, as it is now.

    Args:
        settings: their columns count; the others are guessed.
        readable: refuses, with a UserError, a path that may not be read; None where all may.
        mappings: columns that were given for earlier lists.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not settings.source:
        raise UserError("source: the catalogue's products were handed in; hand them in again.")
    columns = Columns.from_dict(settings.columns)
    return listings.read(
        Path(settings.source), columns, readable=readable, photos_from=settings.photos_from, mappings=mappings
    )


def take(catalogue: Catalogue, settings: Settings, listing: Listing, planner: Planner, mappings: Mappings) -> Changes:
    """Let the catalogue have the products of a list, with these settings; columns that they give are kept."""
    planned = planner.planned(listing.products)
    with catalogue.writing():
        changes = catalogue.update(planned, listing.problems)
        catalogue.write_settings(replace(settings, folder=str(listing.folder)))
        catalogue.write_read_as(listing.columns.to_dict())
    if settings.columns:
        mappings.keep(listing.headers, settings.columns)
    return changes


def plan_again(catalogue: Catalogue, settings: Settings, planner: Planner) -> Changes:
    """Let the products that a catalogue has be drawn as these settings say."""
    known = as_listing(catalogue)
    planned = planner.planned(known.products)
    with catalogue.writing():
        changes = catalogue.update(planned, known.problems)
        catalogue.write_settings(settings)
    return changes


def as_listing(catalogue: Catalogue) -> Listing:
    """The products of a catalogue as the list that they came from."""
    products, cursor = list[Product](), ""
    while True:
        page = catalogue.page(limit=_PAGE, cursor=cursor)
        products += [one.product for one in page.products]
        if page.next is None:
            break
        cursor = page.next
    columns = Columns.from_dict(catalogue.read_as())
    return Listing(
        products,
        catalogue.problems(),
        columns,
        list(filter(None, columns.headers.values())),
        Path(catalogue.settings().folder),
    )


def merged(known: Listing, changed: Listing, removed: Collection[str] = ()) -> Listing:
    """``known`` with the products of ``changed`` in the place of those with the same SKU or behind all, and without
    those whose SKUs are ``removed``; problems are those of ``changed``."""
    products = {one.sku: one for one in known.products}
    for one in changed.products:
        products[one.sku] = one if known.folder == changed.folder else _with_whole_paths(one, changed.folder)
    left = [one for sku, one in products.items() if sku not in removed]
    return replace(known, products=left, problems=changed.problems)


def _with_whole_paths(product: Product, folder: Path) -> Product:
    """The product as a list in any folder could name its files."""
    paths: dict[str, Any] = {name: located(text, folder) for name in FILES if (text := getattr(product, name))}
    return replace(product, **paths)


class Planner:
    """The rules, templates and words of a catalogue.

    Attributes:
        rules: as they are now.
        unknown: terms that the glossary had no word for -> products planned with them.
    """

    def __init__(self, settings: Settings, loras: Loras, own: Collection[Path] = ()) -> None:
        """Read them.

        Args:
            settings: name their files.
            loras: says what activates those of the rules.
            own: folders whose rules were handed in without a folder: paths in them stay as they are written.

        Raises:
            UserError: one cannot be read, or is wrong.
        """
        self.rules = _rules(Path(settings.rules), own) if settings.rules else Rules(())
        self._templates = Templates.load(Path(settings.templates) if settings.templates else None)
        self._glossary = Glossary.load([Path(settings.glossary)] if settings.glossary else [])
        self._words = words_of(settings)
        self._settings = settings
        self._loras = loras
        self.unknown: Counter[str] = Counter()
        self._triggers: dict[str, tuple[str, ...]] = {}

    def planned(self, products: Iterable[Product]) -> list[Planned]:
        """What is drawn of each of the products."""
        return [Planned(product, self.plan(product)) for product in products]

    def lora_problems(self) -> list[str]:
        """Sentences on LoRAs that rules name and that are not there."""
        named = (lora for match in self.rules.matches for lora in _loras(match))
        return list(dict.fromkeys(filter(None, map(self._loras.problem, named))))

    def plan(self, product: Product) -> Plan:
        """What is drawn of a product; without a rule that fits, nothing unless a person says so."""
        match = self.rules.match(product)
        text = compose(
            product, match, self._templates, self._glossary, self._channel(), triggers=self._activating(match),
            language=self._settings.language, kept=self._settings.keep_product and bool(product.photo),
        )  # fmt: skip
        self.unknown.update(text.unknown)
        found = self._words.check(text.prompt, product.sku)
        warnings = tuple(filter(None, (found.refusal, *found.warnings, *text.warnings)))
        named = alt.texts(product, self._glossary)
        negative = ", ".join(filter(None, (self._settings.negative_prompt, text.negative)))
        if match is None:
            return Plan(text.prompt, negative, warnings=warnings, alt=named)
        return Plan(text.prompt, negative, match.rule, _loras(match), product.control or match.control, warnings, named)

    def _channel(self) -> str:
        """The channel that templates may ask for: candidates are for all of them, so there must be but one."""
        only = self._settings.channels[0] if len(self._settings.channels) == 1 else ""
        return Path(only).stem

    def _activating(self, match: Match | None) -> tuple[str, ...]:
        """The trigger words of a rule's LoRAs."""
        if match is None:
            return ()
        if match.rule not in self._triggers:
            self._triggers[match.rule] = tuple(filter(None, map(self._loras.trigger, _loras(match))))
        return self._triggers[match.rule]


def _rules(path: Path, own: Collection[Path]) -> Rules:
    return Rules.from_dict(data_file.read(path), str(path)) if path.parent in own else Rules.load(path)


def words_of(settings: Settings) -> WordList:
    """The words that no prompt may hold.

    Raises:
        UserError: the file cannot be read.
    """
    return WordList.load(Path(settings.words)) if settings.words else WordList()


def _loras(match: Match) -> tuple[dict[str, str | float], ...]:
    return tuple({"file": one.file, "name": one.name, "weight": one.weight} for one in match.loras)
