"""Words in a text: in Latin letters as whole words; Chinese is written without spaces, so it counts anywhere."""

from __future__ import annotations

# What is beyond are the scripts of East Asia.
_FIRST_EASTERN = 0x2E80


def stands_in(word: str, text: str) -> bool:
    """Whether a word, or several, stand in ``text``; both in the same case."""
    at = text.find(word)
    while at >= 0:
        if is_whole(text, at, at + len(word)):
            return True
        at = text.find(word, at + 1)
    return False


def is_whole(text: str, start: int, end: int) -> bool:
    """Whether what stands from ``start`` to ``end`` is no part of a longer word."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    return not (_joins(before) and _joins(text[start])) and not (_joins(text[end - 1]) and _joins(after))


def _joins(char: str) -> bool:
    return char.isalnum() and ord(char) < _FIRST_EASTERN
