"""Images that show the same, also when resized, turned or mirrored."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .measure import Measures, difference_hash

How = Literal["same", "turned", "mirrored"]
# Of 64 bits; re-saving and resizing change fewer.
_BITS = 10
# Mean difference of 16 x 16 luminances: equal hashes of plain images need not be equal images.
_LEVELS = 6.0
# A visible difference in blur.
_SHARPER = 0.05
# A difference in the file's size that means less compression.
_LARGER = 1.3
# Images compared with all others at a time.
_CHUNK = 512
_ONES = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)
# Quarter turns, and four more for a mirrored image.
_TURNS: tuple[tuple[How, int], ...] = (
    ("same", 0), *(("turned", turn) for turn in (1, 2, 3)), *(("mirrored", turn) for turn in (4, 5, 6, 7)),
)  # fmt: skip


def pairs(measured: Sequence[Measures]) -> list[tuple[int, int, How]]:
    """The image that is kept and the one that is like it, of each one that is not kept, and how; by the second.

    The better of two stays: the one with more pixels, then the sharper, then the less compressed one, else the first
    in ``measured``.
    An image goes only where one that looks like it stays, so of a chain (a like b, b like c, c not like a) what is
    unlike stays.
    """
    order = sorted(range(len(measured)), key=lambda index: _worth(measured[index]))
    ranked = [measured[index] for index in order]
    plain = np.array([one.hash for one in ranked], dtype=np.uint64)
    dropped: dict[int, tuple[int, How]] = {}
    for start in range(0, len(ranked), _CHUNK):
        rows = ranked[start : start + _CHUNK]
        near = [
            _distances(np.array([_turned_hash(one, turn) for one in rows], dtype=np.uint64), plain) <= _BITS
            for _, turn in _TURNS
        ]
        for index in range(start, start + len(rows)):
            better = _better(ranked, index, [turned[index - start, :index] for turned in near], dropped)
            if better is not None:
                dropped[index] = better
    return sorted(
        ((order[kept], order[index], how) for index, (kept, how) in dropped.items()), key=lambda pair: pair[1]
    )


def _worth(one: Measures) -> tuple[int, int, int]:
    """What to sort by, the best first; differences in sharpness and compression that nobody sees do not count."""
    return -one.width * one.height, round(one.blur / _SHARPER), -round(math.log(max(1, one.bytes), _LARGER))


def _better(
    ranked: Sequence[Measures], index: int, near: Sequence[NDArray[np.bool_]], dropped: Container[int]
) -> tuple[int, How] | None:
    """The first kept image before ``place`` that it looks like, in any turn, and how; None where there is none."""
    for (how, turn), close in zip(_TURNS, near, strict=True):
        for better in np.flatnonzero(close).tolist():
            if better not in dropped and _alike(ranked[better], ranked[index], turn):
                return better, how
    return None


def _alike(first: Measures, second: Measures, turn: int) -> bool:
    turned = _turned(second.thumbnail, turn).astype(np.float32)
    return bool(np.abs(first.thumbnail.astype(np.float32) - turned).mean() <= _LEVELS)


def _turned(thumbnail: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    return np.rot90(thumbnail[:, ::-1] if turn >= 4 else thumbnail, turn % 4)


def _turned_hash(one: Measures, turn: int) -> int:
    if turn == 0:
        return one.hash
    return difference_hash(Image.fromarray(np.ascontiguousarray(_turned(one.thumbnail, turn))))


def _distances(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Bits that differ, uint8 [some, others]."""
    different = np.bitwise_xor(some[:, None], others[None, :])
    return _ONES[different.view(np.uint8).reshape(*different.shape, 8)].sum(axis=2, dtype=np.uint8)
