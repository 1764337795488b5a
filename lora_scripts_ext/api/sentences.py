"""Sentences in another language, looked up by the English ones, which may hold values."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

_FOLDER = Path(__file__).resolve().parents[1] / "locale"
_PLACE = re.compile(r"\{(\w+)\}")
# Values of places whose names begin like these are parts of sentences and looked up, too. Where one that must be known
# is not, it is another sentence, or begins further on, behind a name with spaces.
_LOOKED_UP = ("text", "known")
_MUST_BE_KNOWN = "known"
_MOST_SPLITS = 30
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

    def values(self, sentence: str) -> Iterator[dict[str, str]]:
        """What may stand at the places in ``sentence``; nothing where it is another sentence.

        Each piece is taken where it comes first, so that the time does not explode with what users write; but the last
        one, before a place that must be known, in several ways.
        """
        first, *between, last = self.pieces
        end = len(sentence) - len(last)
        if not sentence.startswith(first) or not sentence.endswith(last) or end < len(first):
            return
        values, start = [], len(first)
        for piece in between:
            found = sentence.find(piece, start, end)
            if found < 0:
                return
            values.append(sentence[start:found])
            start = found + len(piece)
        yield dict(zip(self.names, [*values, sentence[start:end]], strict=True))
        if not between or not self.names[-1].startswith(_MUST_BE_KNOWN):
            return
        begin = start - len(between[-1]) - len(values[-1])
        for _ in range(_MOST_SPLITS):
            found = sentence.find(between[-1], start, end)
            if found < 0:
                return
            start = found + len(between[-1])
            yield dict(zip(self.names, [*values[:-1], sentence[begin:found], sentence[start:end]], strict=True))


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
        self._found = functools.lru_cache(4096)(self._find)

    def of(self, sentence: str) -> str | None:
        """``sentence`` in the language; None where it is not known."""
        return self._found(sentence)

    def _find(self, sentence: str, depth: int = 0) -> str | None:
        if (known := self._exact.get(sentence)) is not None:
            return known
        if len(sentence) > _LONGEST or depth > _DEEPEST:
            return None
        for word in {_first_word(sentence): 0, "": 0}:
            for template in self._templates.get(word, ()):
                for values in template.values(sentence):
                    filled = self._filled(template, values, depth)
                    if filled is not None:
                        return filled
        return None

    def _filled(self, template: Template, values: dict[str, str], depth: int) -> str | None:
        shown = dict(values)
        for name, value in values.items():
            if name.startswith(_LOOKED_UP):
                found = self._find(value, depth + 1)
                if found is None:
                    # A sentence of its own elsewhere.
                    found = self._find(value[:1].upper() + value[1:], depth + 1)
                if found is None and name.startswith(_MUST_BE_KNOWN):
                    return None
                shown[name] = value if found is None else found
        return _PLACE.sub(lambda place: shown.get(place[1], place[0]), template.words)


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
