"""The values of a channel's file, each checked and named where it is wrong."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..config_check import shown
from ..errors import UserError

#: width and height in pixels, or the two parts of an aspect ratio
Pair = tuple[int, int]
_LARGEST_SIDE = 20_000
_Text = TypeVar("_Text", bound=str)


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included."""

    low: float
    high: float

    def nearest(self, value: float) -> float:
        """``value``, or the end of the range that is nearest to it."""
        return min(max(value, self.low), self.high)


class Keys:
    """The keys of a mapping in a file; ``where`` names the file, and the key that holds the mapping."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def only(self, known: Sequence[str]) -> None:
        """See that there are no others.

        Raises:
            UserError: there is one, such as a misspelt key.
        """
        unknown = next((key for key in self._values if key not in known), None)
        if unknown is not None:
            raise UserError(f"{self._where}: there is no key {shown(unknown)}; the keys are {', '.join(known)}.")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; a date counts as one."""
        value = self._value(key, default)
        if isinstance(value, datetime.date):
            return value.isoformat()
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self._wrong(key, "a text")
        return value

    def choice(self, key: str, choices: Sequence[_Text], default: _Text | None = None) -> _Text:
        """One of ``choices``, however its letters are written."""
        value = self._value(key, default)
        found = [one for one in choices if isinstance(value, str) and one.lower() == value.lower()]
        if not found:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return found[0]

    def count(self, key: str, default: int) -> int:
        """A whole number from 1 on."""
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(key, "a whole number from 1 on")
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts, or a single one."""
        value = self._value(key, list(default))
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one for one in listed):
            raise self._wrong(key, "a list of texts, such as [en, zh]")
        return tuple(listed)

    def pair(self, key: str) -> Pair | None:
        """Two whole numbers, such as ``[750, 1000]``; None without the key."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_side, value)):
            raise self._wrong(key, f"two whole numbers from 1 to {_LARGEST_SIDE}, such as [750, 1000]")
        return value[0], value[1]

    def side(self, key: str) -> int | None:
        """A whole number of pixels; None without the key."""
        value = self._values.get(key)
        if value is not None and not _is_side(value):
            raise self._wrong(key, f"a whole number from 1 to {_LARGEST_SIDE}")
        return value

    def range(self, key: str, low: float, high: float) -> Range:
        """``{min: …, max: …}`` within ``low`` and ``high``, which an end that is not given is."""
        inner = self.inner(key)
        if inner is None:
            return Range(low, high)
        inner.only(("min", "max"))
        found = Range(inner._number("min", low, high, low), inner._number("max", low, high, high))
        if found.low > found.high:
            raise UserError(f"{self._where}: {key}: min is larger than max; exchange them.")
        return found

    def inner(self, key: str) -> Keys | None:
        """The mapping of a key; None without the key."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(key, "keys of its own, such as {min: …, max: …}")
        return Keys(value, f"{self._where}: {key}")

    def _number(self, key: str, low: float, high: float, default: float) -> float:
        value = self._value(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def _value(self, key: str, default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise UserError(f"{self._where}: {key} is missing; add it.")
        return value

    def _wrong(self, key: str, expected: str) -> UserError:
        return UserError(f"{self._where}: {key} is {shown(self._values.get(key))}, expected {expected}.")


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST_SIDE
