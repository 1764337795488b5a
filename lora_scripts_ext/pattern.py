"""Patterns from users, such as ``brand_{number:03d}``, filled in with a small part of Python's format language."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

#: in characters
LONGEST = 1000
# Two digits of width: `{number:0>3000000}` would fill the memory.
_NUMBER = re.compile(r"(?:[0 _-]?[<>^=])?0?\d{0,2}d?")
_TEXT = re.compile(r"(?:\.\d{1,3})?")


def fields(pattern: str, kinds: Mapping[str, type]) -> set[str]:
    """The fields that ``pattern`` uses.

    Args:
        pattern: text with ``{field}`` or ``{field:format}``; attributes, indices and conversions are no fields.
        kinds: of each field that there is, ``int`` or ``str``.

    Raises:
        ValueError: it is not such a text; the message has the reason.
    """
    if len(pattern) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    used = set()
    for _, name, form, conversion in string.Formatter().parse(pattern):
        if name is None:
            continue
        if name not in kinds:
            raise ValueError(f"there is no field {{{name}}}")
        allowed = _NUMBER if kinds[name] is int else _TEXT
        if conversion or not allowed.fullmatch(form or ""):
            raise ValueError(f"{{{name}}} cannot be written in the format {form or '!' + str(conversion)!r}")
        used.add(name)
    return used


def fill(pattern: str, values: Mapping[str, int | str]) -> str:
    """``pattern`` with its fields filled in.

    Raises:
        ValueError: as for ``fields``.
    """
    fields(pattern, {name: type(value) for name, value in values.items()})
    return pattern.format(**values)
