"""Where in a photo its subject is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 128
_RING = 0.08
# Share of all saliency that may lie outside the box on each of its sides.
_OUTSIDE = 0.02
_NOTHING = 6.0

Box = tuple[float, float, float, float]


def box(pixels: Image.Image) -> Box:
    """Left, top, right, bottom of the subject, as shares of width and height.

    What is unlike the border is the subject; an image that is like its border everywhere is all subject.
    """
    small = pixels.convert("RGB").copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    colours = np.asarray(small, dtype=np.float32)
    unlike = _unlike_border(colours)
    if unlike.max() < _NOTHING:
        return (0.0, 0.0, 1.0, 1.0)
    # The border itself varies: only what stands out of that counts.
    salient = np.maximum(0, unlike - np.percentile(unlike, 60)) ** 1.5
    across, down = salient.sum(axis=0), salient.sum(axis=1)
    left, right = _extent(across)
    top, bottom = _extent(down)
    return (left, top, right, bottom)


def _unlike_border(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each pixel to the nearest of the border's four sides, float32 [height, width], in levels."""
    height, width, _ = colours.shape
    inset = max(1, round(_RING * min(height, width)))
    sides = (colours[:inset], colours[-inset:], colours[:, :inset], colours[:, -inset:])
    medians = [np.median(side.reshape(-1, 3), axis=0) for side in sides]
    return np.min([np.abs(colours - median).max(axis=2) for median in medians], axis=0)


def _extent(profile: NDArray[np.float32]) -> tuple[float, float]:
    """First and last place of a profile that holds all but a little of it, as shares."""
    grown = np.cumsum(profile) / profile.sum()
    first = int(np.searchsorted(grown, _OUTSIDE))
    last = int(np.searchsorted(grown, 1 - _OUTSIDE)) + 1
    return first / len(profile), min(last, len(profile)) / len(profile)
