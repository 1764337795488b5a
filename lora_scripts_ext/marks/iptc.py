"""Where the pixels of an image come from, as IPTC says it: ``Iptc4xmpExt:DigitalSourceType``."""

from __future__ import annotations

from typing import Literal

NAMESPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
PROPERTY = "DigitalSourceType"
Source = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
#: drawn by a model; put together of a photo and what a model has drawn
DRAWN: Source = "trainedAlgorithmicMedia"
COMPOSITE: Source = "compositeWithTrainedAlgorithmicMedia"
SOURCES = (DRAWN, COMPOSITE)
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def uri(source: Source) -> str:
    """The term's address in IPTC's vocabulary, which is what a file holds."""
    return _VOCABULARY + source


def name(uri: str) -> str:
    """The term of an address; the address itself where it is of no term of this vocabulary."""
    return uri.strip().removeprefix(_VOCABULARY)
