"""A cut-out product scaled and placed into a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from .cutout import Cutout, binary


@dataclass(frozen=True)
class Placement:
    """Where in the frame a product is.

    Attributes:
        share: of the frame that the product takes, along the side that limits it, from 0 to 1.
        across: its middle, from 0 at the left to 1 at the right.
        down: its lower edge, from 0 at the top to 1 at the bottom.
    """

    share: float = 0.6
    across: float = 0.5
    down: float = 0.85


@dataclass(frozen=True)
class Placed:
    """A product in a frame.

    Attributes:
        pixels: RGB, of the frame's size: the product's own colours, and those of its edge a little beyond.
        alpha: mode L, of that size: how much of each pixel is product.
        mask: mode L, 255 where most of the pixel is product and 0 elsewhere: what is never changed.
    """

    pixels: Image.Image
    alpha: Image.Image
    mask: Image.Image


def place(cutout: Cutout, width: int, height: int, placement: Placement | None = None) -> Placed:
    """Scale the product and place it into a frame of ``width`` x ``height`` pixels, whole.

    Raises:
        UserError: the placement is none, or the product would not be whole in the frame.
    """
    placement = placement or Placement()
    if not 0 < placement.share <= 1 or not all(0 <= one <= 1 for one in (placement.across, placement.down)):
        raise UserError(
            f"A product cannot be placed at {placement.across:g}, {placement.down:g} with a share of "
            f"{placement.share:g}; give numbers from 0 to 1."
        )
    left, top, right, bottom = _box(cutout.alpha)
    factor = scale(cutout, width, height, placement)
    size = max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor))
    corner = round(placement.across * width - size[0] / 2), round(placement.down * height - size[1])
    if min(corner) < 0 or corner[0] + size[0] > width or corner[1] + size[1] > height:
        raise UserError(
            f"With a share of {placement.share:g} at {placement.across:g}, {placement.down:g} the product would leave "
            "the frame; make it smaller, or move it inwards."
        )
    colours, alpha = _scaled(cutout, (left, top, right, bottom), size)
    frame, shares = Image.new("RGB", (width, height)), Image.new("L", (width, height))
    frame.paste(colours, corner)
    shares.paste(alpha, corner)
    # Only a photo's own transparency comes with the product's colours beyond its edge.
    placed = Placed(frame, shares, binary(shares))
    return placed if cutout.source == "alpha" else _edged(placed)


def scale(cutout: Cutout, width: int, height: int, placement: Placement | None = None) -> float:
    """Pixels of the frame for one of the photo's, of a product that :func:`place` places there."""
    left, top, right, bottom = _box(cutout.alpha)
    return (placement or Placement()).share * min(width / (right - left), height / (bottom - top))


def _box(alpha: Image.Image) -> tuple[int, int, int, int]:
    """What holds the product: a faint haze around it does not count."""
    box = alpha.point([255 * (value >= 16) for value in range(256)]).getbbox()
    assert box is not None, "a cut-out without a product"
    return box


def _scaled(cutout: Cutout, box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Colours and alpha of the box. Colours count by their alpha: the background's do not come in at the edge."""
    if size == (box[2] - box[0], box[3] - box[1]):
        return cutout.pixels.crop(box), cutout.alpha.crop(box)
    share = np.asarray(cutout.alpha.crop(box), np.float32) / 255
    colours = np.asarray(cutout.pixels.crop(box), np.float32) * share[..., None]
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in (share, *np.moveaxis(colours, 2, 0))]
    alpha, *scaled = (np.asarray(plane.resize(size, Image.Resampling.LANCZOS)) for plane in planes)
    own = np.stack(scaled, axis=2) / np.maximum(alpha, 1 / 255)[..., None]
    return (
        Image.fromarray(own.clip(0, 255).round().astype(np.uint8)),
        Image.fromarray((alpha * 255).clip(0, 255).round().astype(np.uint8)),
    )


def _edged(placed: Placed) -> Placed:
    """Outside of the mask the colours of the product's edge, not those of the old background; a hard edge is softened
    over one pixel there."""
    inside = np.asarray(placed.mask) > 0
    share = inside.astype(np.float32)
    own = np.asarray(placed.pixels)
    weights = _spread(share[..., None])
    reached = _spread(own * share[..., None]) / np.maximum(weights, np.float32(1e-6))
    colours = np.where(inside[..., None], own, reached.round().clip(0, 255).astype(np.uint8))
    alpha = np.asarray(placed.alpha)
    if np.isin(alpha, (0, 255)).all():
        alpha = np.where(inside, alpha, (weights[..., 0] * 255).round().astype(np.uint8))
    else:
        alpha = np.where(inside | (weights[..., 0] > 0), alpha, 0).astype(np.uint8)
    return Placed(Image.fromarray(colours), Image.fromarray(alpha), placed.mask)


def _spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel's mean with its neighbours, of [height, width, channels]: a quarter, a half, a quarter both ways."""
    for axis in (0, 1):
        padding = [(0, 0)] * 3
        padding[axis] = (1, 1)
        wide = np.pad(values, padding)
        length = wide.shape[axis]
        before, after = wide.take(range(length - 2), axis), wide.take(range(2, length), axis)
        values = ((before + 2 * values + after) / 4).astype(np.float32)
    return values
