"""Files that a list names by their address on the web."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from ..errors import UserError

_ADDRESS = re.compile(r"(?:https?:)?//|data:", re.I)
_SCHEMES = ("http", "https")


def is_address(written: str) -> bool:
    """Whether a list names no file of this machine."""
    return bool(_ADDRESS.match(written))


def check(beginning: str, where: str) -> None:
    """See that this is what addresses may begin with.

    Raises:
        UserError: it is not.
    """
    if _place(beginning) is None or set(beginning) & {"?", "#"}:
        raise UserError(
            f"{where}: {beginning.rpartition('@')[2][:200] or 'an empty text'} is not what addresses of photos begin "
            "with; write it such as https://cdn.example.com/products/."
        )


def refusal(written: str, allowed: Sequence[str]) -> str:
    """Why nothing is fetched from an address, as a sentence; empty where it begins with one of ``allowed``."""
    place = _place(written)
    if place is not None and any(_is_below(place, _place(beginning)) for beginning in allowed):
        return ""
    return (
        f"{written[:200]} is an address on the web, from which nothing is fetched unless photos_from names what it "
        "begins with; name it there, or save the file and write its path."
    )


def _place(address: str) -> tuple[str, str] | None:
    """Origin and path; None where it is no such address, or one that could be taken for another."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    path = unquote(parts.path)
    odd = "@" in parts.netloc or "\\" in path or ".." in path.split("/") or not address.isprintable()
    if parts.scheme not in _SCHEMES or not host or port == 0 or odd:
        return None
    return f"{parts.scheme}://{host}:{port or ''}", path or "/"


def _is_below(place: tuple[str, str], beginning: tuple[str, str] | None) -> bool:
    return beginning is not None and place[0] == beginning[0] and place[1].startswith(beginning[1])
