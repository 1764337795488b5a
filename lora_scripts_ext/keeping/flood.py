"""A plain background found by a flood fill from the image's border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: how far a pixel may be from the background's colour, in any channel of 255: a strict and a lenient answer
_STRICT, _LENIENT = 6, 20
# A background is near-white where no channel is darker.
_NEAR_WHITE = 225
_BORDER_SHARE = 0.9
_SMALLEST, _LARGEST = 0.005, 0.95
# The strict and the lenient answer agree on this share of the pixels of either.
_AGREEMENT = 0.97


def product_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Where the product is, bool [height, width], in a photo of it before a plain near-white background.

    ``pixels`` is uint8 [height, width, 3]. None where the answer would be ambiguous: the background is not white or not
    plain, a shadow or a white product makes it a matter of tolerance, or there is nothing before it.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    background = np.median(border, axis=0)
    if background.min() < _NEAR_WHITE:
        return None
    if (np.abs(border - background).max(axis=1) <= _LENIENT).mean() < _BORDER_SHARE:
        return None
    distance = np.abs(pixels.astype(np.int16) - background).max(axis=2)
    strict, lenient = (~reached(distance <= tolerance) for tolerance in (_STRICT, _LENIENT))
    if not _SMALLEST <= lenient.mean() <= _LARGEST:
        return None
    return lenient if (strict & lenient).sum() >= _AGREEMENT * (strict | lenient).sum() else None


def reached(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the free pixels of [height, width] a fill from the border reaches, by steps to the four sides."""
    filled = np.zeros_like(free)
    filled[[0, -1]], filled[:, [0, -1]] = free[[0, -1]], free[:, [0, -1]]
    while True:
        count = filled.sum()
        filled = _along_rows(free, filled)
        filled = _along_rows(free.T, filled.T).T
        if filled.sum() == count:
            return filled


def _along_rows(free: NDArray[np.bool_], filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every run of free pixels in a row is filled where any of it is."""
    # A wall at the end of each row separates its runs from the next row's.
    walled = np.pad(free, ((0, 0), (0, 1)))
    flat = walled.ravel()
    run = np.cumsum(np.diff(flat, prepend=False) & flat) * flat
    wet = np.zeros(int(run.max()) + 1, bool)
    wet[run[np.pad(filled, ((0, 0), (0, 1))).ravel()]] = True
    wet[0] = False
    return wet[run].reshape(walled.shape)[:, :-1]
