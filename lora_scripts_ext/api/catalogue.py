"""Sentences in another language, looked up by the English ones, which may hold values."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import yaml

_FOLDER = Path(__file__).resolve().parents[1] / "locale"
_PLACE = re.compile(r"\{(\w+)\}")
# The value of a place whose name begins like this is a sentence, or a part of one, and is looked up as well.
_NESTED = "text"
# Reasons within reasons end here, whatever a value holds.
_DEEPEST = 3
_LONGEST = 4000


class Template(NamedTuple):
    """A sentence with places.

    Attributes:
        pieces: what stands before, between and behind the places.
        names: of the places, one fewer than pieces.
        words: the sentence in the other language, with the same places.
    """

    pieces: tuple[str, ...]
    names: tuple[str, ...]
    words: str

    def values(self, sentence: str) -> dict[str, str] | None:
        """What stands at the places in ``sentence``; None where it is another sentence.

        Each piece is taken where it comes first, so that the time does not explode with what users write.
        """
        first, *between, last = self.pieces
        end = len(sentence) - len(last)
        if not sentence.startswith(first) or not sentence.endswith(last) or end < len(first):
            return None
        values, start = [], len(first)
        for piece in between:
            found = sentence.find(piece, start, end)
            if found < 0:
                return None
            values.append(sentence[start:found])
            start = found + len(piece)
        return dict(zip(self.names, [*values, sentence[start:end]], strict=True))


class Catalogue:
    """The sentences of one language. May be used from any thread."""

    def __init__(self, sentences: dict[str, str]) -> None:
        """``sentences``: English -> the other language; {name} stands for a value in both."""
        self._exact: dict[str, str] = {}
        self._templates: dict[str, list[Template]] = defaultdict(list)
        for english, words in sentences.items():
            parts = _PLACE.split(english)
            if len(parts) == 1:
                self._exact[english] = words
            else:
                template = Template(tuple(parts[::2]), tuple(parts[1::2]), words)
                self._templates[_first_word(parts[0])].append(template)
        for templates in self._templates.values():
            # The most particular one counts.
            templates.sort(key=lambda one: -sum(map(len, one.pieces)))
        self.of = functools.lru_cache(4096)(self._of)

    def _of(self, sentence: str, depth: int = 0) -> str:
        """``sentence`` in the language; as it is where it is not known."""
        if (known := self._exact.get(sentence)) is not None:
            return known
        if len(sentence) > _LONGEST or depth > _DEEPEST:
            return sentence
        for word in (_first_word(sentence), ""):
            for template in self._templates.get(word, ()):
                values = template.values(sentence)
                if values is not None:
                    return self._filled(template, values, depth)
        return sentence

    def _filled(self, template: Template, values: dict[str, str], depth: int) -> str:
        shown = {
            name: self._of(value, depth + 1) if name.startswith(_NESTED) else value for name, value in values.items()
        }
        return _PLACE.sub(lambda place: shown[place[1]], template.words)


def _first_word(text: str) -> str:
    """The first word of a sentence, or of what stands before its first place; empty where it has none that is whole."""
    word, blank, _ = text.partition(" ")
    return word if blank else ""


@functools.cache
def chinese() -> Catalogue:
    """The sentences in Chinese."""
    return Catalogue(sentences("zh"))


def sentences(language: str) -> dict[str, str]:
    """The file of a language: English -> that language."""
    # The loader in C is many times faster, and not everywhere.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (_FOLDER / f"{language}.yaml").read_text(encoding="utf-8")
    groups: dict[str, dict[str, str]] = yaml.load(text, loader)
    return {english: words for group in groups.values() for english, words in group.items()}
