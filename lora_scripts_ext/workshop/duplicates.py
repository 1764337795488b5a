"""Pictures that show the same, also when resized, turned or mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from .measure import Measures, difference_hash

How = Literal["same", "turned", "mirrored"]
# Of 64 bits; re-saving and resizing change fewer.
_BITS = 10
# Mean difference of 16 x 16 luminances: equal hashes of plain pictures need not be equal pictures.
_LEVELS = 6.0
# Pictures compared with all others at a time.
_CHUNK = 512
_ONES = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)
# Quarter turns, and four more for a mirrored picture.
_TURNS: tuple[tuple[How, int], ...] = (
    ("same", 0), *(("turned", turn) for turn in (1, 2, 3)), *(("mirrored", turn) for turn in (4, 5, 6, 7)),
)  # fmt: skip


def pairs(measured: Sequence[Measures]) -> list[tuple[int, int, How]]:
    """The earlier and the later picture of each pair that looks the same, and how.

    A picture is the later one of at most one pair.
    """
    plain = np.array([one.hash for one in measured], dtype=np.uint64)
    found: dict[int, tuple[int, int, How]] = {}
    for how, turn in _TURNS:
        turned = plain if turn == 0 else np.array([_turned_hash(one, turn) for one in measured], dtype=np.uint64)
        for start in range(0, len(plain), _CHUNK):
            near = _distances(turned[start : start + _CHUNK], plain) <= _BITS
            for row, earlier in zip(*np.nonzero(near), strict=True):
                later = int(row) + start
                if earlier < later and later not in found and _alike(measured[earlier], measured[later], turn):
                    found[later] = (int(earlier), later, how)
    return [found[later] for later in sorted(found)]


def _alike(first: Measures, second: Measures, turn: int) -> bool:
    turned = _turned(second.thumbnail, turn).astype(np.float32)
    return bool(np.abs(first.thumbnail.astype(np.float32) - turned).mean() <= _LEVELS)


def _turned(thumbnail: np.ndarray, turn: int) -> np.ndarray:
    return np.rot90(thumbnail[:, ::-1] if turn >= 4 else thumbnail, turn % 4)


def _turned_hash(one: Measures, turn: int) -> int:
    return difference_hash(Image.fromarray(np.ascontiguousarray(_turned(one.thumbnail, turn))))


def _distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Bits that differ, uint8 [some, others]."""
    different = np.bitwise_xor(some[:, None], others[None, :])
    return _ONES[different.view(np.uint8).reshape(*different.shape, 8)].sum(axis=2, dtype=np.uint8)
