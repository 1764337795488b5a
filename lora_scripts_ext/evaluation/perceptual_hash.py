"""A perceptual hash: which of an image's slow waves are above their median.

64 bits from the 8 x 8 lowest frequencies of the discrete cosine transform of 32 x 32 luminances, as pHash computes it
(Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 32
_WAVES = 8
BITS = _WAVES * _WAVES


def bits(image: Image.Image) -> NDArray[np.bool_]:
    """The hash of an image, bool [64]."""
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    waves = _cosines()
    low = waves @ grey @ waves.T
    return (low > np.median(low)).flatten()


def distances(some: Sequence[Image.Image], others: Sequence[Image.Image]) -> NDArray[np.float64]:
    """Share of the bits that differ, 0 to 1: [some, others]."""
    one, two = np.stack([bits(image) for image in some]), np.stack([bits(image) for image in others])
    return (one[:, None] != two[None]).mean(2)


def _cosines() -> NDArray[np.float64]:
    """Rows of the discrete cosine transform (type II), the slowest first and the mean left out: [8, 32]."""
    places = (np.arange(_SIDE) + 0.5) * np.pi / _SIDE
    return np.cos(np.outer(np.arange(1, _WAVES + 1), places))
