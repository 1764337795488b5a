"""Values against patterns with ``*``, as rules and templates have them."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


def fits(pattern: str, value: str) -> bool:
    """Whether a value is what a pattern says; ``*`` stands for any text.

    Args:
        pattern: as ``plain`` gives it.
        value: in any case and width.
    """
    text = plain(value)
    # Piece by piece from the left: a regular expression would try all ways to share the text out among the stars.
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *pieces, last = others
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return text.endswith(last) and at <= len(text) - len(last)


@lru_cache(maxsize=1 << 16)
def plain(text: str) -> str:
    """Without differences of case, width and spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
