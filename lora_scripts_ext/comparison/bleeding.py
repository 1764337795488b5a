"""How much of one product's look has bled into the other's half of an image of both.

Each half is compared with the same half of two images that show one product alone, drawn with the same seed: its own
product's, with its LoRA on the whole image, and the other's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Cells of a half along its height: a look is colours and where they are, not the outline of an object.
_CELLS = 8

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Half:
    """Distances of a half of the image: root mean square differences of its cells' colours, in 0 to 1.

    Attributes:
        own: to its own product alone.
        other: to the other product alone.
    """

    own: float
    other: float

    @property
    def bleeding(self) -> float:
        """How far it is from its own product, relative to how far from the other: 0 where it looks as its own product
        does alone, 1 where it looks as much like the other."""
        return self.own / self.other if self.other else float(self.own == 0) or float("inf")


def halves(image: Image.Image, left: Image.Image, right: Image.Image) -> tuple[Half, Half]:
    """The left and the right half of ``image``.

    Args:
        image: both products, side by side.
        left: the left product alone, of the same size and seed.
        right: the right product alone.
    """
    both, lefts, rights = (_halves(one) for one in (image, left, right))
    return _half(both[0], lefts[0], rights[0]), _half(both[1], rights[1], lefts[1])


def bleeding(image: Image.Image, left: Image.Image, right: Image.Image) -> float:
    """The mean of both halves."""
    return sum(half.bleeding for half in halves(image, left, right)) / 2


def _half(seen: Features, own: Features, other: Features) -> Half:
    return Half(_distance(seen, own), _distance(seen, other))


def _halves(image: Image.Image) -> tuple[Features, Features]:
    middle, height = image.width // 2, image.height
    right = image.crop((image.width - middle, 0, image.width, height))
    return _features(image.crop((0, 0, middle, height))), _features(right)


def _features(half: Image.Image) -> Features:
    columns = max(1, round(_CELLS * half.width / half.height))
    cells = half.convert("RGB").resize((columns, _CELLS), Image.Resampling.BOX)
    return np.asarray(cells, np.float32) / np.float32(255)


def _distance(one: Features, other: Features) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))
