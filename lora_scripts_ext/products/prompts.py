"""The prompt of a product: its templates filled in, in the base model's words, with the LoRAs' trigger words."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..captions.fields import TEMPLATE
from . import matching
from .glossary import Glossary
from .product import Product
from .rules import Match
from .templates import Templates, filled
from .whole_words import stands_in

#: the language whose prompts the glossary is not asked for
CHINESE = "zh"
_TAG = re.compile(r"<[^<>]*>")
# What WebUIs read as instructions: weights, alternatives, LoRAs.
_INSTRUCTIONS = re.compile(r"[()\[\]{}<>|\\]")
_WORDS = re.compile(r"\b(?:AND|BREAK)\b")
_LONGEST_VALUE = 500


@dataclass(frozen=True)
class PromptText:
    """What a product is drawn with.

    Attributes:
        warnings: sentences that a person should read, such as on a term that the glossary does not have.
        unknown: these terms.
    """

    prompt: str
    negative: str
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def compose(
    product: Product,
    match: Match | None,
    templates: Templates,
    glossary: Glossary,
    channel: str = "",
    *,
    triggers: Sequence[str] = (),
    language: str = "en",
    kept: bool = False,
) -> PromptText:
    """The prompt and the negative prompt of a product.

    A prompt of the product's own takes the place of the composed one. ``language`` is what the base model understands:
    for ``zh`` Chinese stays as it is.

    Args:
        product: the product.
        match: what a rule says of it.
        templates: by category and channel.
        glossary: turns Chinese terms into English ones.
        channel: name of the channel that the image is for.
        triggers: trigger words of the LoRAs; those that are not there already are put in front.
        language: ``en`` or ``zh``.
        kept: whether the product itself is in the image already. Then the prompt describes its surroundings alone: a
            model whose prompt names the product draws a second one.
    """
    parts = templates.parts(product, channel)
    if kept:
        parts |= {"subject": parts["surroundings"], "attributes": "", "scene": "", "style": ""}
    own = product.prompt or _composed(product, match, parts, triggers)
    negative = product.negative or _negative(product, match, parts)
    unknown: tuple[str, ...] = ()
    if language != CHINESE:
        translations = [glossary.translated(text) for text in (own, negative)]
        own, negative = (one.text for one in translations)
        unknown = tuple(dict.fromkeys(term for one in translations for term in one.unknown))
    warnings = [f"{product.sku}: the glossary has no word for {term}, which is left out; add it." for term in unknown]
    if not product.prompt and not kept and not _name(product):
        warnings.append(
            f"{product.sku}: it has neither title nor category nor description, so the prompt does not say what it is; "
            "write one of them."
        )
    if not product.prompt:
        own = _without_repeats(own)
    missing = [word for word in triggers if word and not stands_in(matching.plain(word), matching.plain(own))]
    prompt = ", ".join(filter(None, [*missing, own]))
    return PromptText(prompt, _without_repeats(negative), tuple(warnings), unknown)


def _composed(product: Product, match: Match | None, parts: dict[str, str], triggers: Sequence[str]) -> str:
    clean = _clean_product(product)
    values = _values(clean)
    composed = {part: filled(parts[part], values, clean) for part in ("subject", "attributes", "scene", "style")}
    whole = match.prompt if match and match.prompt else TEMPLATE
    return filled(whole, {**values, **composed, "trigger": ", ".join(triggers)}, clean)


def _negative(product: Product, match: Match | None, parts: dict[str, str]) -> str:
    clean = _clean_product(product)
    composed = filled(parts["negative"], _values(clean), clean)
    return ", ".join(filter(None, [composed, match.negative if match else ""]))


def _values(product: Product) -> dict[str, str]:
    return {
        "name": _name(product),
        "sku": product.sku,
        "title": product.title,
        "category": product.category,
        "description": product.description,
        "tags": ", ".join(product.tags),
    }


def _name(product: Product) -> str:
    """What a product is: its title, else the last part of its category, else its description."""
    category = re.split(r"[>/»›]", product.category)[-1].strip()
    return product.title or category or product.description


def _clean_product(product: Product) -> Product:
    return replace(
        product,
        title=_clean(product.title),
        category=_clean(product.category.replace(">", "/")),
        description=_clean(product.description),
        tags=tuple(map(_clean, product.tags)),
        attributes={name: _clean(value) for name, value in product.attributes.items()},
    )


def _clean(value: str) -> str:
    """A value of the list as plain words: without HTML, and without what a WebUI would obey."""
    plain = unicodedata.normalize("NFKC", html.unescape(_TAG.sub(" ", value)))
    plain = _WORDS.sub(lambda match: match[0].lower(), _INSTRUCTIONS.sub(" ", plain))
    return " ".join(plain.split())[:_LONGEST_VALUE]


def _without_repeats(text: str) -> str:
    """Without parts that an earlier one says already: ``red dress, red`` is ``red dress``."""
    kept: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        if not any(stands_in(matching.plain(part), matching.plain(earlier)) for earlier in kept):
            kept.append(part)
    return ", ".join(kept)
