"""Files of rules, templates and word lists: YAML whose values stay as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import config_file
from ..errors import UserError

_LARGEST = 4 * 1024 * 1024
_NULL = "tag:yaml.org,2002:null"


class _Loader(yaml.BaseLoader):
    """Makes texts of all values but of those that are left empty."""


_Loader.add_implicit_resolver(_NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_constructor(_NULL, lambda loader, node: None)


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file: texts, lists, mappings, and None for what is empty; ``007`` and ``yes`` stay so.

    Raises:
        UserError: it cannot be read, or is no mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UserError(f"{path}: the file is larger than {_LARGEST >> 20} MiB; check the path.")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: this file is not UTF-8; save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it cannot be read ({getattr(error, 'strerror', error)}); check the path.") from error
    # Says what is wrong with it, and keeps it small.
    if not config_file.parse(text, str(path)):
        return {}
    written: dict[str, Any] = yaml.load(text, _Loader)
    return written


def text(value: Any, where: str, longest: int = 2000) -> str:
    """A value as text: numbers and Booleans of JSON, too.

    Raises:
        UserError: it is something else, or too long; the sentence begins with ``where``.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise UserError(f"{where}: expected a text; write it in quotes.")
    if len(str(value)) > longest:
        raise UserError(f"{where}: it has {len(str(value))} characters, at most {longest} are read; shorten it.")
    return str(value).strip()


def texts(value: Any, where: str) -> list[str]:
    """A text, or a list of them.

    Raises:
        UserError: it is something else.
    """
    return [text(one, where) for one in (value if isinstance(value, list | tuple) else [value])]


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """A mapping, where an empty value is an empty one.

    Raises:
        UserError: it is something else.
    """
    if value in (None, ""):
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected lines of `key: value`.")
    return value


def check_keys(value: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse keys that there are not.

    Raises:
        UserError: one of them is unknown.
    """
    for key in value:
        if key not in known:
            raise UserError(f"{where}: there is no key {str(key)[:80]!r}; the keys are {', '.join(known)}.")
