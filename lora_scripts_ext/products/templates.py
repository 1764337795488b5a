"""Templates of prompts: what is said of the products of a category, for a channel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import attributes, data_file, matching
from .attributes import PREFIX
from .product import Product

#: the parts of a prompt that a template may say something about, what is drawn around a product that is kept, and the
#: negative prompt
PARTS = ("subject", "attributes", "scene", "style", "surroundings", "negative")
#: what a template may name in braces, beside ``attributes.NAME``
PLACES = ("name", "sku", "title", "category", "description", "tags")
#: what the whole prompt of a rule may name besides
WHOLE_PLACES = (*PLACES, "trigger", "subject", "attributes", "scene", "style")
_SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "prompts" / "default.yaml"
_KEYS = ("category", "channel", *PARTS)
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class _Template:
    categories: tuple[str, ...]
    channels: tuple[str, ...]
    parts: Mapping[str, str]


class Templates:
    """Templates in their order: each part comes from the first one that fits and says something about it."""

    def __init__(self, templates: Sequence[_Template]) -> None:
        self._templates = templates
        self._of = lru_cache(maxsize=1 << 12)(self._fitting)

    @classmethod
    def load(cls, path: Path | None = None) -> Templates:
        """Of a YAML file, followed by those that ship; without a path these alone.

        Raises:
            UserError: it cannot be read, or a template is wrong.
        """
        own = cls.from_dict(data_file.read(path), str(path)) if path else cls(())
        return cls([*own._templates, *_shipped()._templates])

    @classmethod
    def from_dict(cls, data: Any, where: str = "templates") -> Templates:
        """Of ``{"templates": [...]}``; the sentences of errors begin with ``where``.

        Raises:
            UserError: a template is wrong; the sentence has its number and the key.
        """
        values = data_file.mapping(data, where)
        data_file.check_keys(values, ("templates",), where)
        listed = values.get("templates") or []
        if not isinstance(listed, list | tuple):
            raise UserError(f"{where}: templates must be a list; begin each template with a hyphen.")
        return cls([_template(one, f"{where}: template {number}") for number, one in enumerate(listed, 1)])

    def parts(self, product: Product, channel: str = "") -> dict[str, str]:
        """The template of each part, for a product and a channel; one that nothing is said about is empty."""
        return dict(self._of(product.category, channel))

    def _fitting(self, category: str, channel: str) -> Mapping[str, str]:
        fitting = [
            one.parts for one in self._templates if _among(one.categories, category) and _among(one.channels, channel)
        ]
        return {part: next((parts[part] for parts in fitting if part in parts), "") for part in PARTS}


def check(template: str, where: str, places: Sequence[str] = PLACES) -> None:
    """Refuse a template that names what there is not.

    Raises:
        UserError: it does; the sentence begins with ``where``.
    """
    for name in _PLACE.findall(template):
        if name.strip() not in places and not name.strip().startswith(PREFIX):
            raise UserError(f"{where}: there is no {{{name}}}; there are {', '.join(places)} and {PREFIX}NAME.")
    if set(_PLACE.sub("", template)) & set("{}"):
        raise UserError(f"{where}: a brace has no partner; write {{title}}.")


def filled(template: str, values: Mapping[str, str], product: Product) -> str:
    """``template`` with its places filled in, without the empty ones and their commas."""

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        return attributes.of(product, name) if name.startswith(PREFIX) else values.get(name, "")

    pieces = []
    for piece in re.split("[,\N{FULLWIDTH COMMA}]", template):
        names = _PLACE.findall(piece)
        text = _PLACE.sub(value, piece)
        if not names or any(value(match) for match in _PLACE.finditer(piece)):
            pieces.append(" ".join(text.split()))
    return ", ".join(piece for piece in pieces if piece)


def _template(data: Any, where: str) -> _Template:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: expected keys such as scene and style below the hyphen.")
    data_file.check_keys(data, _KEYS, where)
    parts = {part: data_file.text(data[part], f"{where}: {part}") for part in PARTS if part in data}
    for part, text in parts.items():
        check(text, f"{where}: {part}")
    categories, channels = (
        tuple(matching.plain(one) for one in data_file.texts(data.get(key), f"{where}: {key}") if one)
        for key in ("category", "channel")
    )
    return _Template(categories, channels, parts)


def _among(patterns: Sequence[str], value: str) -> bool:
    return not patterns or any(matching.fits(pattern, value) for pattern in patterns)


@lru_cache(maxsize=1)
def _shipped() -> Templates:
    return Templates.from_dict(data_file.read(_SHIPPED), str(_SHIPPED))
