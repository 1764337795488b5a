"""Product lists as JSON: a list of objects, an object with such a list in it, or an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import delimited_list
from .row import MOST_COLUMNS, Row, Rows

_LIST = "products"
#: an object below this key holds further columns
_ATTRIBUTES = "attributes"


def read(path: Path, encoding: str = "") -> Rows:
    """The rows of a file, those of lines numbered by them; row 0 holds the names of all keys.

    Raises:
        UserError: it is not JSON, or holds no list of products.
    """
    text = delimited_list.decoded(path, encoding)
    objects = _lines(text, path) if _is_lines(text) else enumerate(_list(_parsed(text, path), path), 1)
    return of_objects(objects)


def of_objects(objects: Iterable[tuple[int, Any]]) -> Rows:
    """Rows of numbered objects: first one of the names of all keys, numbered 0."""
    records = [(number, *_flat(one)) for number, one in objects]
    headers: dict[str, None] = {}
    for _, values, _ in records:
        headers.update(dict.fromkeys(values))
    if len(headers) > MOST_COLUMNS:
        raise UserError(f"the products have {len(headers)} different keys; at most {MOST_COLUMNS} are read.")
    if headers:
        yield Row(0, list(headers))
    for number, values, doubt in records:
        if doubt or any(values.values()):
            yield Row(number, [values.get(header, "") for header in headers], doubt)


def _is_lines(text: str) -> bool:
    """Whether the first line is an object by itself and another one follows."""
    first, _, rest = text.lstrip().partition("\n")
    return first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _lines(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: line {number} is not JSON ({error}); correct it.") from error


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise UserError(f"{path}: line {line} is not JSON ({error}); correct it.") from error


def _list(parsed: Any, path: Path) -> list[Any]:
    if isinstance(parsed, dict) and isinstance(parsed.get(_LIST), list):
        parsed = parsed[_LIST]
    elif isinstance(parsed, dict) and parsed and _LIST not in parsed:
        # The only line of a file of lines.
        parsed = [parsed]
    if not isinstance(parsed, list):
        raise UserError(f"{path}: it holds no products; write a list of objects, or one below {_LIST!r}.")
    return parsed


def _flat(one: Any) -> tuple[dict[str, str], str]:
    """The values of a product as text, and why it cannot be read."""
    if not isinstance(one, Mapping):
        return {}, "is no object; write its keys and values in braces"
    values: dict[str, str] = {}
    nested = one.get(_ATTRIBUTES)
    own = {key: value for key, value in one.items() if key != _ATTRIBUTES or not isinstance(value, Mapping)}
    for key, value in [*own.items(), *(nested.items() if isinstance(nested, Mapping) else ())]:
        text = _text(value)
        if text is None:
            return {}, f"has under {str(key)[:80]!r} neither a text, a number nor a list of them; write it as text"
        values.setdefault(str(key).strip(), text)
    return values, ""


def _text(value: Any) -> str | None:
    """A value as a cell: of a list its items with commas; None where it is no text, number or list of them."""
    if isinstance(value, list | tuple):
        texts = [_text(one) for one in value]
        listed = any(isinstance(one, list | tuple) for one in value)
        return None if listed or None in texts else ", ".join(text for text in texts if text)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        return None
    # JSON's escapes can give half characters and zero bytes, which no file can hold.
    return str(value).replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
