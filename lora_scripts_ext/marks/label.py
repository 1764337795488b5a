"""What is said about an image that a model has drawn: the label, checked before it is written anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..config_check import shown
from ..errors import UserError
from . import credit_code, iptc
from .iptc import Source

# GB 45438-2025 allows 0x21, 0x23 to 0x5B and 0x5D to 0x7E: no space, no quotation mark, no backslash.
_ALLOWED = re.compile(r"[!#-\[\]-~]*")
# A credit code alone, or as it stands in the code of a producer: 001, 1, the credit code, five digits.
_CREDIT_CODE = re.compile(r"(?:0011)?([0-9A-Z]{2}\d{6}[0-9A-Z]{10})(?:\d{5})?")
_CODED = re.compile(r"0011.{18}\d{5}")
_CODED_LENGTH = 27
_LONGEST = 1000


@dataclass(frozen=True)
class Label:
    """What the file of an image says of its making.

    Attributes:
        source: IPTC's digital source type: drawn by a model, or put together of a photo and what a model has drawn.
        producer: who made it: ASCII without spaces, a name or the code of GB 45438-2025.
        produce_id: what the producer knows the image by.
        propagator, propagate_id: who passes it on, and its id there; empty where that is the producer.
        outer_key: whether the label of GB 45438-2025 is wrapped in one more object, whose only key is ``AIGC``.
    """

    source: Source
    producer: str
    produce_id: str
    propagator: str = ""
    propagate_id: str = ""
    outer_key: bool = False


def check(label: Label) -> None:
    """See that the label may be written.

    Raises:
        UserError: a name or id is missing, has characters that the standard forbids, or is a mistyped company code.
    """
    if label.source not in iptc.SOURCES:
        raise UserError(f"label: source is {shown(label.source)}, expected one of {', '.join(iptc.SOURCES)}.")
    for key, value in (("producer", label.producer), ("produce_id", label.produce_id)):
        if not value:
            raise UserError(f"label: {key} is empty; the label of GB 45438-2025 needs it, so set it.")
    for key in ("producer", "produce_id", "propagator", "propagate_id"):
        _check_characters(key, getattr(label, key))
    for key, value in (("producer", label.producer), ("propagator", label.propagator)):
        _check_code(key, value)


def _check_characters(key: str, value: str) -> None:
    if len(value) > _LONGEST:
        raise UserError(f"label: {key} has {len(value)} characters; take at most {_LONGEST}.")
    if not _ALLOWED.fullmatch(value):
        wrong = next(character for character in value if not _ALLOWED.fullmatch(character))
        raise UserError(
            f"label: {key} is {shown(value)}, and GB 45438-2025 does not allow {shown(wrong)} there; take letters "
            "A to Z, digits and punctuation of ASCII, without spaces, quotation marks and backslashes."
        )


def _check_code(key: str, value: str) -> None:
    """A code with a mistyped character would name another company, or none."""
    if value.startswith("0011") and len(value) == _CODED_LENGTH and not _CODED.fullmatch(value):
        raise UserError(
            f"label: {key} is {value}; a coded producer is 001, 1, the 18 characters of the credit code and 5 digits, "
            "so correct the last five."
        )
    found = _CREDIT_CODE.fullmatch(value)
    if found and not credit_code.is_valid(found[1]):
        raise UserError(
            f"label: {key} has the credit code {found[1]}, whose last character does not fit the others "
            "(GB 32100-2015); correct the code."
        )
