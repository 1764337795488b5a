"""Rules: which LoRAs a product is drawn with, and what the prompt says then. The first rule that fits is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import attributes, data_file, matching, templates
from .columns import Columns, field_of, plain
from .product import FIELDS, Product, located

_KEYS = ("name", "when", "loras", "prompt", "negative", "control")
_LORA_KEYS = ("file", "name", "weight")
_MOST_RULES = 10_000
_LARGEST_WEIGHT = 10.0


@dataclass(frozen=True)
class LoraName:
    """A LoRA as a rule names it: by ``file``, a path, or by ``name``, that of a model of the library or of a LoRA in
    the host's folder. The other one is empty."""

    file: str
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Match:
    """What a rule says of the products that it fits.

    Attributes:
        rule: its name, else its number: ``rule 3``.
        prompt: a template of the whole prompt, with the parts of :mod:`.templates`; may be empty.
        negative: words that are added to the negative prompt.
        control: path of an image for ControlNet, for products that have none of their own.
    """

    rule: str
    loras: tuple[LoraName, ...]
    prompt: str = ""
    negative: str = ""
    control: str = ""


@dataclass(frozen=True)
class Trial:
    """What rules do with a list of products.

    Attributes:
        counts: how many products each rule is used for, by its name, in the order of the rules.
        unmatched: SKUs of the products that no rule fits.
        unused: names of the rules that are used for no product.
        warnings: sentences on rules that can fit no product of this list.
    """

    counts: Mapping[str, int]
    unmatched: Sequence[str]
    unused: Sequence[str]
    warnings: Sequence[str]


@dataclass(frozen=True)
class _Rule:
    match: Match
    when: Mapping[str, tuple[str, ...]]


class Rules:
    """Rules in their order."""

    def __init__(self, rules: Sequence[_Rule], columns: Columns | None = None) -> None:
        self._rules = rules
        self._columns = columns
        self._headers = {plain(header): name for name, header in columns.headers.items() if header} if columns else {}

    @classmethod
    def load(cls, path: Path) -> Rules:
        """Read a YAML file; paths in it are relative to its folder.

        Raises:
            UserError: it cannot be read, or a rule is wrong.
        """
        return cls.from_dict(data_file.read(path), str(path), path.absolute().parent)

    @classmethod
    def from_dict(cls, data: Any, where: str = "rules", folder: Path | None = None) -> Rules:
        """Of ``{"rules": [...]}``.

        Args:
            data: as in the file.
            where: what the sentences of errors begin with.
            folder: what paths are relative to; None leaves them as they are written.

        Raises:
            UserError: a rule is wrong; the sentence has its number and the key.
        """
        values = data_file.mapping(data, where)
        data_file.check_keys(values, ("rules",), where)
        listed = values.get("rules") or []
        if not isinstance(listed, list | tuple):
            raise UserError(f"{where}: rules must be a list; begin each rule with a hyphen.")
        if len(listed) > _MOST_RULES:
            raise UserError(f"{where}: there are {len(listed)} rules, at most {_MOST_RULES} are read.")
        rules = [_rule(one, number, where, folder) for number, one in enumerate(listed, 1)]
        names = [rule.match.rule for rule in rules]
        doubled = (
            next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        )
        if doubled is not None:
            raise UserError(f"{where}: two rules have the name {doubled}; rename one of them.")
        return cls(rules)

    def of_list(self, columns: Columns) -> Rules:
        """The same rules for a list with these columns: conditions may then name its headers, whatever they are."""
        return Rules(self._rules, columns)

    @property
    def matches(self) -> list[Match]:
        """What each rule says, in their order."""
        return [rule.match for rule in self._rules]

    def match(self, product: Product) -> Match | None:
        """What the first rule that fits says; None where none does, and a person has to be asked."""
        return next((rule.match for rule in self._rules if self._fits(rule, product)), None)

    def tried(self, products: Iterable[Product]) -> Trial:
        """What the rules do with a list, before anything is drawn."""
        counts = {rule.match.rule: 0 for rule in self._rules}
        unmatched: list[str] = []
        present: set[str] = set()
        for product in products:
            match = self.match(product)
            if match:
                counts[match.rule] += 1
            else:
                unmatched.append(product.sku)
            present.update(map(attributes.canonical, product.attributes))
        warnings = [
            f"{rule.match.rule}: no product has a column {name}; correct the name."
            for rule in self._rules
            for name in rule.when
            if not (self._field(name) or self._guessed_field(name) or attributes.canonical(name) in present)
        ]
        unused = [name for name, count in counts.items() if not count]
        return Trial(counts, unmatched, unused, warnings)

    def _fits(self, rule: _Rule, product: Product) -> bool:
        return all(
            any(matching.fits(pattern, value) for pattern in wanted for value in self._values(product, name))
            for name, wanted in rule.when.items()
        )

    def _values(self, product: Product, name: str) -> Sequence[str]:
        """What a product has in a column, by a field's name or by a header; one empty text where it has nothing."""
        field = self._field(name)
        value = "" if field else attributes.of(product, name)
        if not field and not value:
            field = self._guessed_field(name)
        if field == "tags":
            return product.tags or ("",)
        return (str(getattr(product, field)) if field else value,)

    def _field(self, name: str) -> str:
        """The field that a condition names, by its own name or by its column's header; empty for an attribute."""
        bare = plain(name)
        return bare if bare in FIELDS else self._headers.get(bare, "")

    def _guessed_field(self, name: str) -> str:
        """The field whose column may have this name, as long as the columns are not known."""
        return "" if self._columns else field_of(name)


def _rule(data: Any, number: int, where: str, folder: Path | None) -> _Rule:
    where = f"{where}: rule {number}"
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: expected keys such as when and loras below the hyphen.")
    data_file.check_keys(data, _KEYS, where)
    when = {
        str(name): tuple(map(matching.plain, wanted))
        for name, value in data_file.mapping(data.get("when"), f"{where}: when").items()
        if (wanted := [one for one in data_file.texts(value, f"{where}: when: {name}") if one])
    }
    loras = data.get("loras") or []
    if not isinstance(loras, list | tuple):
        raise UserError(f"{where}: loras must be a list; begin each LoRA with a hyphen.")
    texts = {key: data_file.text(data.get(key), f"{where}: {key}") for key in ("name", "prompt", "negative", "control")}
    templates.check(texts["prompt"], f"{where}: prompt", templates.WHOLE_PLACES)
    match = Match(
        rule=texts["name"] or f"rule {number}",
        loras=tuple(_lora(one, f"{where}: loras: {place}", folder) for place, one in enumerate(loras, 1)),
        prompt=texts["prompt"],
        negative=texts["negative"],
        control=_path(texts["control"], folder),
    )
    return _Rule(match, when)


def _lora(data: Any, where: str, folder: Path | None) -> LoraName:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: expected file or name, and weight.")
    data_file.check_keys(data, _LORA_KEYS, where)
    file, name = (data_file.text(data.get(key), f"{where}: {key}") for key in ("file", "name"))
    if bool(file) == bool(name):
        raise UserError(f"{where}: give either file, the path of a LoRA, or name, that of a model of the library.")
    written = data_file.text(data.get("weight", 1.0), f"{where}: weight")
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not abs(weight) <= _LARGEST_WEIGHT:
        raise UserError(f"{where}: weight is {written}; write a number such as 0.8.")
    return LoraName(_path(file, folder), name, weight)


def _path(written: str, folder: Path | None) -> str:
    return located(written, folder) if written and folder else written
