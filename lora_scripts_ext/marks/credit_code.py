"""Unified social credit codes of Chinese companies: the last of 18 characters checks the others (GB 32100-2015)."""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_BASE = len(_DIGITS)
LENGTH = 18


def check_character(code: str) -> str:
    """The 18th character that belongs to the first 17 of ``code``; empty where one of these is in no such code.

    Its value is 31 less the sum of the others, each times 3 to the power of its place, modulo 31.
    """
    body = code[: LENGTH - 1]
    if any(character not in _DIGITS for character in body):
        return ""
    weighted = sum(_DIGITS.index(character) * pow(3, place, _BASE) for place, character in enumerate(body))
    return _DIGITS[-weighted % _BASE]


def is_valid(code: str) -> bool:
    """Whether ``code`` has the right length and the right last character."""
    return len(code) == LENGTH and check_character(code) == code[-1]
