"""The light in a drawn scene, as far as a shadow needs it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# ITU-R BT.709: how much red, green and blue count for brightness.
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
_SIDE = 32


@dataclass(frozen=True)
class Light:
    """The light of a scene.

    Attributes:
        across: where it comes from, from -1 at the left to 1 at the right; 0 from above, or from everywhere.
        brightness: mean of the scene, from 0 to 1.
        contrast: between the scene's dark and bright parts, from 0 to 1: soft light throws soft shadows.
        colour: red, green and blue of the bright parts, the largest is 1.
    """

    across: float
    brightness: float
    contrast: float
    colour: tuple[float, float, float]


def estimate(scene: Image.Image, without: Image.Image) -> Light:
    """The light of a scene, looked at outside of the mask ``without`` (mode L, of its size).

    A plane fitted to the brightness by least squares tells the side it comes from.
    """
    pixels = np.asarray(scene.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64) / 255
    free = np.asarray(without.resize((_SIDE, _SIDE), Image.Resampling.BOX)) < 64
    if free.sum() < 8:
        free = np.ones_like(free)
    brightness = pixels @ _WEIGHTS
    slope = _slope(brightness, free)
    dark, bright = np.quantile(brightness[free], (0.1, 0.9))
    colours = pixels[free & (brightness >= np.quantile(brightness[free], 0.5))].mean(axis=0)
    red, green, blue = colours / max(colours.max(), 1e-6)
    return Light(
        # A fall of half the brightness from one side to the other is light from that side.
        across=float(np.clip(slope / max(brightness[free].mean(), 0.05) * 2, -1, 1)),
        brightness=float(brightness[free].mean()),
        contrast=float(bright - dark),
        colour=(float(red), float(green), float(blue)),
    )


def _slope(brightness: NDArray[np.float64], free: NDArray[np.bool_]) -> float:
    """How much brighter the right side is than the left one, by the plane that fits best."""
    rows, columns = np.nonzero(free)
    positions = np.stack([columns / (_SIDE - 1), rows / (_SIDE - 1), np.ones(len(rows))], axis=1)
    return float(np.linalg.lstsq(positions, brightness[free], rcond=None)[0][0])
