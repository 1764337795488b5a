"""An image in numbers: how sharp, how bright, how busy, and what it looks like from afar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images import decode
from ..images.edit import UNEDITED, Edit

_THUMBNAIL = 16
_EDGE_MAP = 64
_TILES = 8
# Of 64 tiles the busiest eight tell how sharp an image is: a soft backdrop does not make it blurred.
_SHARP_TILES = 8
_REBLUR = 9
_RING = 0.12
_WHITE = 250
_BACKDROP = 0.95
# Steps between neighbours that are an edge, in levels of 255.
_EDGE = 20
_EDGE_IN_MAP = 24
_CLEARLY = 2


@dataclass(frozen=True)
class Measures:
    """What is measured of one image. Shares are 0 to 1, luminance 0 to 255.

    Attributes:
        width, height: in pixels, upright and edited.
        bytes: of the file.
        blur: 0 is crisp, 1 is an image without any detail, at the size it is trained at.
        dark: luminance that only the brightest 5 % exceed.
        contrast: luminance between the darkest and the brightest 5 %.
        burnt: share that is white in every channel, without a white backdrop.
        clutter: share of the border that is edges.
        border: mean colour of the border.
        hash: 64-bit difference hash, of 9 x 8 luminances.
        thumbnail: uint8 [16, 16], luminances.
        edges: bool [64, 64], where luminance changes.
    """

    width: int
    height: int
    bytes: int
    blur: float
    dark: float
    contrast: float
    burnt: float
    clutter: float
    border: tuple[int, int, int]
    hash: int
    thumbnail: NDArray[np.uint8]
    edges: NDArray[np.bool_]


def measure(path: Path, resolution: int, edit: Edit = UNEDITED) -> Measures:
    """Measure an edited image at the size that training sees.

    Raises:
        Unreadable: it cannot be decoded.
    """
    width, height = decode.size(path, edit)
    longest = max(width, height) / min(width, height) * resolution
    pixels = decode.small(path, round(min(longest, 2 * resolution)), edit)
    colours = np.asarray(pixels, dtype=np.float32)
    grey = np.asarray(pixels.convert("L"), dtype=np.float32)
    low, high = np.percentile(grey, (5, 95))
    ring = _ring(grey.shape)
    red, green, blue = (int(value) for value in np.median(colours[ring], axis=0))
    return Measures(
        width=width,
        height=height,
        bytes=path.stat().st_size,
        blur=blur(grey),
        dark=float(high),
        contrast=float(high - low),
        burnt=_burnt(colours, ring),
        clutter=float((_steps(grey) > _EDGE)[ring].mean()),
        border=(red, green, blue),
        hash=difference_hash(pixels),
        thumbnail=np.asarray(pixels.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)),
        edges=_edge_map(pixels),
    )


def blur(grey: NDArray[np.float32]) -> float:
    """How little an image loses when it is blurred again, in its busiest tiles; float32 [height, width] -> 0 to 1.

    Crete et al. 2007, The Blur Effect (SPIE 6492): neighbours of a sharp image differ much less after a box filter,
    those of a blurred one hardly. The larger of both directions, so that a shaken image is found, too.
    """
    directions = []
    for lines in (grey, grey.T):
        if lines.shape[1] < 2:  # a single column has no neighbours
            continue
        differences = np.abs(np.diff(lines, axis=1))
        lost = np.maximum(0, differences - np.abs(np.diff(_box(lines), axis=1)))
        before, after = _tiles(differences), _tiles(lost)
        busiest = np.argsort(before)[-_SHARP_TILES:]
        total = before[busiest].sum()
        directions.append((float(total), 1 - float(after[busiest].sum() / total) if total else 1.0))
    strongest = max((total for total, _ in directions), default=0.0)
    # Stripes have edges in one direction only; the other is no evidence.
    return max((value for total, value in directions if total >= strongest / 4), default=1.0)


def difference_hash(pixels: Image.Image) -> int:
    """64 bits: whether each of 8 x 8 places is clearly brighter than its right neighbour."""
    small = np.asarray(pixels.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    # On a plain backdrop grain would decide.
    bits = (small[:, :-1] - small[:, 1:] > _CLEARLY).flatten()
    return int(np.packbits(bits).view(">u8")[0])


def _box(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of nine neighbours in a row."""
    half = _REBLUR // 2
    padded = np.pad(lines, ((0, 0), (half + 1, half)), mode="edge").cumsum(axis=1, dtype=np.float64)
    return ((padded[:, _REBLUR:] - padded[:, :-_REBLUR]) / _REBLUR).astype(np.float32)


def _tiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of 8 x 8 tiles, [64]."""
    rows = np.linspace(0, values.shape[0], _TILES + 1, dtype=int)[:-1]
    columns = np.linspace(0, values.shape[1], _TILES + 1, dtype=int)[:-1]
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1).flatten()


def _ring(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where the border is: bool [height, width]."""
    height, width = shape
    inset = max(1, round(_RING * min(shape)))
    ring = np.ones(shape, dtype=bool)
    ring[inset : height - inset, inset : width - inset] = False
    return ring


def _burnt(colours: NDArray[np.float32], ring: NDArray[np.bool_]) -> float:
    """Share of white; a white backdrop is no mistake, and what stands before one may be white itself."""
    white = np.all(colours >= _WHITE, axis=2)
    return 0.0 if white[ring].mean() >= _BACKDROP else float(white.mean())


def _steps(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much luminance changes to the next pixel, [height, width]."""
    across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    return np.maximum(across, np.abs(np.diff(grey, axis=0, append=grey[-1:])))


def _edge_map(pixels: Image.Image) -> NDArray[np.bool_]:
    small = pixels.convert("L").resize((_EDGE_MAP, _EDGE_MAP), Image.Resampling.BOX)
    return _steps(np.asarray(small, dtype=np.float32)) > _EDGE_IN_MAP
