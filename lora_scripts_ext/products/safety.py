"""Brand safety: words that no prompt may have, and names of competitors that a person should see."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import data_file
from .whole_words import stands_in

_KEYS = ("forbidden", "competitors")
_SPACE = re.compile(r"[\s\-_\u2010-\u2015\u30fb·]+")


@dataclass(frozen=True)
class Finding:
    """What a word list says of a text.

    Attributes:
        refusal: why it may not be used, as a sentence; empty where it may.
        warnings: sentences on names of competitors.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()


class WordList:
    """Words to look for: in Latin letters as whole words, in Chinese anywhere, in any case and width. Spaces, hyphens
    and underscores are the same."""

    def __init__(self, forbidden: Iterable[str] = (), competitors: Iterable[str] = ()) -> None:
        self._forbidden = {_plain(word): word for word in forbidden if _plain(word)}
        self._competitors = {_plain(word): word for word in competitors if _plain(word)}

    @classmethod
    def load(cls, path: Path) -> WordList:
        """Of a YAML file with the lists ``forbidden`` and ``competitors``.

        Raises:
            UserError: it cannot be read, or is something else.
        """
        return cls.from_dict(data_file.read(path), str(path))

    @classmethod
    def from_dict(cls, data: Any, where: str = "words") -> WordList:
        """Of ``{"forbidden": [...], "competitors": [...]}``.

        Raises:
            UserError: it is something else; the sentence begins with ``where``.
        """
        values = data_file.mapping(data, where)
        data_file.check_keys(values, _KEYS, where)
        return cls(*(data_file.texts(values.get(key), f"{where}: {key}") for key in _KEYS))

    def check(self, text: str, sku: str, what: str = "prompt") -> Finding:
        """What is wrong with a text of the product ``sku``: its ``what``."""
        forbidden, competitors = self.found(text)
        refusal = ""
        if forbidden:
            refusal = (
                f"{sku}: its {what} has the forbidden word {forbidden[0]!r}; change the text of the product or the "
                "template, or the word list."
            )
        warnings = tuple(
            f"{sku}: its {what} names {word!r}, which the word list has as a competitor; check it."
            for word in competitors
        )
        return Finding(refusal, warnings)

    def found(self, text: str) -> tuple[list[str], list[str]]:
        """The forbidden words and the competitors' names that a text has."""
        plain = _plain(text)
        forbidden, competitors = (
            [word for one, word in words.items() if stands_in(one, plain)]
            for words in (self._forbidden, self._competitors)
        )
        return forbidden, competitors


def _plain(text: str) -> str:
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
