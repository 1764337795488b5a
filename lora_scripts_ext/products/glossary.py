"""A glossary: product terms of one language in the words that the base model knows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..captions import delimited
from ..errors import UserError
from . import data_file, delimited_list
from .whole_words import is_whole

_SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "glossary"
_LONGEST_TERM = 60
_MOST_TERMS = 100_000
# Ideographs of the basic block, of extension A, and the one for zero.
_CHINESE = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff]")
_STOPS = str.maketrans(dict.fromkeys("，、。；！？·【】「」『』《》〈〉", ","))
_TABLES = frozenset({".csv", ".tsv", ".txt"})


@dataclass(frozen=True)
class Translation:
    """A text in the base model's words.

    Attributes:
        unknown: Chinese terms that the glossary does not have; they are left out of ``text``.
    """

    text: str
    unknown: tuple[str, ...] = ()


class Glossary:
    """Terms and what stands for them; an empty text leaves a term out."""

    def __init__(self, terms: Mapping[str, str]) -> None:
        self._terms = {_plain(term): words for term, words in terms.items()}
        lengths: dict[str, set[int]] = {}
        for term in self._terms:
            lengths.setdefault(term[0], set()).add(len(term))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def __len__(self) -> int:
        return len(self._terms)

    @classmethod
    def load(cls, paths: Iterable[Path], shipped: bool = True) -> Glossary:
        """The terms of files, YAML (``terms: {term: words}``) or CSV (term, words), over those that ship; of two files
        the later one counts.

        Raises:
            UserError: a file cannot be read, or an entry is wrong.
        """
        terms = dict(_shipped()) if shipped else {}
        for path in paths:
            terms.update(read(path))
        return cls(terms)

    def translated(self, text: str) -> Translation:
        """``text`` with every term replaced, the longest one that fits from the left first.

        A term in Latin letters is replaced only where it stands as a word. What is neither a term nor Chinese stays.
        """
        if text.isascii() and not self._has_latin(text):
            return Translation(text)
        pieces: list[str] = []
        unknown: list[str] = []
        at, missed = 0, ""
        while at < len(text):
            term = self._term(text, at)
            is_chinese = term is None and _CHINESE.match(text[at]) is not None
            if missed and not is_chinese:
                unknown.append(missed)
                missed = ""
            if term is not None:
                pieces += [" ", self._terms[_plain(term)], " "]
            elif is_chinese:
                missed += text[at]
                pieces.append(" ")
            else:
                pieces.append(text[at])
            at += len(term or " ")
        if missed:
            unknown.append(missed)
        return Translation(_joined("".join(pieces)), tuple(dict.fromkeys(unknown)))

    def _term(self, text: str, at: int) -> str | None:
        for length in self._lengths.get(_plain(text[at]), ()):
            piece = text[at : at + length]
            if len(piece) == length and _plain(piece) in self._terms and is_whole(text, at, at + length):
                return piece
        return None

    def _has_latin(self, text: str) -> bool:
        return any(char in self._lengths for char in set(text.casefold()))


def read(path: Path) -> dict[str, str]:
    """The terms of one file; see :meth:`Glossary.load`.

    Raises:
        UserError: it cannot be read, or an entry is wrong.
    """
    return _of_table(path) if path.suffix.lower() in _TABLES else _of_yaml(path)


def _joined(text: str) -> str:
    """Single spaces, and none before a comma."""
    return re.sub(r"\s+([,.:!?)])", r"\1", " ".join(text.translate(_STOPS).split())).strip(" ,")


def _plain(term: str) -> str:
    return unicodedata.normalize("NFKC", term).casefold()


@lru_cache(maxsize=1)
def _shipped() -> Mapping[str, str]:
    """The terms that ship."""
    terms: dict[str, str] = {}
    for path in sorted(_SHIPPED.glob("*.yaml")):
        terms.update(_of_yaml(path))
    return terms


def _of_yaml(path: Path) -> dict[str, str]:
    values = data_file.read(path)
    data_file.check_keys(values, ("terms",), str(path))
    terms = data_file.mapping(values.get("terms"), f"{path}: terms")
    return _checked(((str(term), data_file.text(words, f"{path}: {term}")) for term, words in terms.items()), path)


def _of_table(path: Path) -> dict[str, str]:
    try:
        text = delimited_list.decoded(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror}); check the path.") from error
    delimiter = max(",;\t", key=text.count)
    rows = [[field.value for field in record.fields] for record in delimited.records(text, delimiter) if record]
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short:
        raise UserError(f"{path}: entry {short} has no second column; write the term and the words for it.")
    if len(rows) > 1 and _is_entry(rows[1]) and not _is_entry(rows[0]):
        # A header.
        rows = rows[1:]
    return _checked(((row[0].strip(), row[1].strip()) for row in rows), path)


def _is_entry(row: Sequence[str]) -> bool:
    """Whether a row is a Chinese term with words that are not."""
    return bool(_CHINESE.search(row[0])) and not _CHINESE.search(row[1])


def _checked(entries: Iterable[tuple[str, str]], path: Path) -> dict[str, str]:
    terms: dict[str, str] = {}
    for term, words in entries:
        if not term.strip() or len(term) > _LONGEST_TERM:
            raise UserError(f"{path}: {term[:_LONGEST_TERM]!r} is no term; write 1 to {_LONGEST_TERM} characters.")
        terms[term.strip()] = words
    if len(terms) > _MOST_TERMS:
        raise UserError(f"{path}: it has {len(terms)} terms, at most {_MOST_TERMS} are read; leave some out.")
    return terms
