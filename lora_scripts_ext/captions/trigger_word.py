"""Trigger words: one is suggested for a model's name, one that is typed is looked up in CLIP's vocabulary."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.tokenizer import Tokenizer


_SHORTEST, _LONGEST = 4, 8
_CONSONANTS = "bcdfghjklmnpqrstvwxz"
_TRIES = 100


@dataclass(frozen=True)
class TriggerWord:
    """What the text encoder makes of a trigger word.

    Attributes:
        tokens: how many it reads.
        known: the words in it that are one token of the vocabulary, so that the base model may connect something with
            them already.
        advice: a sentence where another word would do better; may be empty.
    """

    word: str
    tokens: int
    known: tuple[str, ...]
    advice: str


def load() -> None:
    """Load the tokenizer, which takes seconds, before it is needed."""
    _tokenizer()


def looked_up(word: str) -> TriggerWord:
    """``word`` as CLIP's tokenizer reads it."""
    tokenizer = _tokenizer()
    words = word.split()
    known = tuple(one for one in words if tokenizer.count(one) == 1)
    return TriggerWord(word, tokenizer.count(word), known, _advice(words, known, tokenizer))


def suggested(name: str, used: Collection[str] = ()) -> str:
    """A word that no vocabulary has, close to ``name``: its consonants; none of those ``used``, which are casefolded.

    The same name gives the same word.
    """
    tokenizer = _tokenizer()
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub("[^a-z]|[aeiouy]", "", plain)[:_LONGEST]
    filler = (_CONSONANTS[byte % len(_CONSONANTS)] for byte in _bytes(name))
    word = stem
    while len(word) < _SHORTEST:
        word += next(filler)
    for _ in range(_TRIES):
        if word not in used and tokenizer.count(word) > 1:
            return word
        word = word[: _LONGEST - 1] + next(filler) if word == stem else word[:-1] + next(filler)
    return word


def _tokenizer() -> Tokenizer:
    # It takes seconds to be imported, which programs that never ask for a word need not wait for.
    from ..models.tokenizer import Tokenizer

    return Tokenizer.shipped()


def _bytes(name: str) -> bytes:
    """Bytes that depend on the name only, enough for all tries."""
    return b"".join(hashlib.sha256(f"{name}{number}".encode("utf-8", "replace")).digest() for number in range(8))


def _advice(words: list[str], known: tuple[str, ...], tokenizer: Tokenizer) -> str:
    if not words:
        return "Without a trigger word the LoRA changes every prompt; a word of your own switches it on and off."
    if len(known) == len(words):
        return (
            f"The base model knows {' '.join(known)!r} already and will mix what it knows of it into the images; make "
            "up a word that does not exist."
        )
    if "," in " ".join(words):
        return "A comma makes it several tags, which shuffled captions tear apart; leave the commas out."
    if tokenizer.count(" ".join(words)) > tokenizer.room // 4:
        return "It takes a good part of what the text encoder reads of a prompt; a short word does as well."
    return ""
