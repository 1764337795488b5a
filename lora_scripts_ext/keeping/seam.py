"""How visible the edge is where a product was put into a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .placing import Placed

_RADIUS = 6.0


def seam(image: Image.Image, placed: Placed) -> float:
    """The gradient across the mask's border, over that of the product before a neutral ground.

    The ground is the image's own surroundings, smoothed, so that both have the same contrast; before it the product's
    soft edge is laid as it is. 1 is an edge as in a photograph; a halo of an old background, or a hard edge where the
    product's is soft, makes it larger.
    """
    neutral = _before_ground(image, placed)
    ours = _gradient(np.asarray(image.convert("RGB"), np.float32), placed)
    theirs = _gradient(neutral, placed)
    return float((ours + 1) / (theirs + 1))


def _before_ground(image: Image.Image, placed: Placed) -> NDArray[np.float32]:
    """The product before the image's own surroundings, smoothed without the product and the edge around it."""
    wide = placed.alpha.point([255 * (value > 0) for value in range(256)]).filter(ImageFilter.MaxFilter(5))
    outside = (np.asarray(wide) == 0)[..., None].astype(np.float32)
    pixels = np.asarray(image.convert("RGB"), np.float32)
    weights, total = _blurred(outside), _blurred(pixels * outside)
    ground = total / np.maximum(weights, np.float32(1e-3))
    share = np.asarray(placed.alpha, np.float32)[..., None] / 255
    return ground * (1 - share) + np.asarray(placed.pixels, np.float32) * share


def _gradient(pixels: NDArray[np.float32], placed: Placed) -> float:
    """Mean step, of 255, from the last pixel inside the mask to the first outside, over all four directions."""
    inside = np.asarray(placed.mask) > 0
    steps = []
    for axis in (0, 1):
        step = np.abs(np.diff(pixels, axis=axis)).max(axis=2)
        steps.append(step[np.diff(inside, axis=axis)])
    every = np.concatenate(steps)
    return float(every.mean()) if len(every) else 0.0


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each channel smoothed by repeated means along both axes, which come close to a Gaussian."""
    width = int(_RADIUS) * 2 + 1
    for _ in range(3):
        for axis in (0, 1):
            padding = [(0, 0)] * 3
            padding[axis] = (width // 2 + 1, width // 2)
            sums = np.cumsum(np.pad(values, padding, mode="edge"), axis=axis, dtype=np.float64)
            length = sums.shape[axis]
            values = ((sums.take(range(width, length), axis) - sums.take(range(length - width), axis)) / width).astype(
                np.float32
            )
    return values
