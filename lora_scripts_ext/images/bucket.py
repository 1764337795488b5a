"""Sizes that images are trained at, and how an image is resized and cropped to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import Config
from ..errors import UserError
from ..random_streams import generator

Size = tuple[int, int]
"""Width and height in pixels."""
SMALLEST_SIDE, LARGEST_SIDE = 32, 8192


@dataclass(frozen=True)
class View:
    """One way to cut an image: ``left`` and ``top`` in pixels of the resized image, before any mirroring."""

    left: int
    top: int
    flip: bool


@dataclass(frozen=True)
class Grid:
    """The buckets of a run.

    Attributes:
        sizes: all buckets; each has at most ``area`` pixels.
        step: every side is a multiple of this many pixels.
        longest: largest side.
        upscale: whether an image smaller than its bucket is enlarged, or put into a smaller bucket.
    """

    sizes: tuple[Size, ...]
    step: int
    area: int
    longest: int
    upscale: bool

    def choose(self, size: Size) -> Size:
        """The bucket whose aspect ratio is nearest to ``size``; the larger of equally near ones."""
        aspect = math.log(size[0] / size[1])
        nearest = min(
            self.sizes,
            key=lambda one: (round(abs(aspect - math.log(one[0] / one[1])), 9), -one[0] * one[1], one),
        )
        if self.upscale or (nearest[0] <= size[0] and nearest[1] <= size[1]):
            return nearest
        shrink = min(1.0, math.sqrt(self.area / (size[0] * size[1])))
        width, height = (max(self.step, int(side * shrink) // self.step * self.step) for side in size)
        return min(self.longest, width), min(self.longest, height)


def check_side(side: int) -> None:
    """Refuse a side in pixels that no model is trained at.

    Raises:
        UserError: it is not within 32 to 8192.
    """
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise UserError(
            f"resolution is {side}; write a side of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, usually 512, 768 or 1024."
        )


def grid(config: Config, resolution: Sequence[int], vae_factor: int) -> Grid:
    """The buckets that ``config`` asks for.

    Args:
        config: says bucket step and bounds.
        resolution: side in pixels, or width and height.
        vae_factor: pixels per latent cell along one side.

    Raises:
        UserError: a size does not fit the latent grid, or no bucket lies within the bounds.
    """
    width, height = resolution[0], resolution[-1]
    if not config.enable_bucket:
        for side in (width, height):
            if side % vae_factor:
                raise UserError(
                    f"resolution is {side}; without buckets it must be a multiple of {vae_factor}, for example "
                    f"{max(1, round(side / vae_factor)) * vae_factor}, or set enable_bucket: true."
                )
        return Grid(((width, height),), vae_factor, width * height, max(width, height), upscale=True)

    if config.bucket_step % vae_factor:
        raise UserError(
            f"bucket_step is {config.bucket_step}; it must be a multiple of {vae_factor}, the pixels of one latent "
            "cell of this model."
        )
    mean_side = math.sqrt(width * height)
    # A step above a quarter of the side would leave hardly any aspect ratio (the pocket model has side 64).
    step = max(vae_factor, min(config.bucket_step, int(mean_side / 4) // vae_factor * vae_factor))
    low = config.min_bucket_side or mean_side / 2
    high = config.max_bucket_side or mean_side * 2
    sizes = _sizes(width * height, step, math.ceil(low / step) * step, int(high) // step * step)
    if not sizes:
        raise UserError(
            f"min_bucket_side {low:g} and max_bucket_side {high:g} leave no bucket for resolution {mean_side:g} in "
            f"steps of {step} pixels; leave both at 0 for half and twice the resolution."
        )
    return Grid(sizes, step, width * height, max(max(size) for size in sizes), not config.bucket_no_upscale)


def _sizes(area: int, step: int, low: int, high: int) -> tuple[Size, ...]:
    """Every width from ``low`` to ``high`` with the tallest height that stays within ``area``, and the reverse."""
    sizes: set[Size] = set()
    square = math.isqrt(area) // step * step
    if low <= square <= high:
        sizes.add((square, square))
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def cover(size: Size, bucket: Size) -> Size:
    """The size an image is resized to, in its own aspect ratio, so that it just covers ``bucket``."""
    width, height = size
    if bucket[0] * height >= bucket[1] * width:
        return bucket[0], max(bucket[1], round(height * bucket[0] / width))
    return max(bucket[0], round(width * bucket[1] / height)), bucket[1]


def views(config: Config, name: str, resized: Size, bucket: Size) -> tuple[View, ...]:
    """All ways a visit may cut the image called ``name``: crops, each plain and, with ``flip``, mirrored."""
    right, down = resized[0] - bucket[0], resized[1] - bucket[1]
    if config.crop == "random":
        draw = generator(config.seed, "crop", name)
        corners = [
            (int(draw.integers(right, endpoint=True)), int(draw.integers(down, endpoint=True)))
            for _ in range(config.crop_variants)
        ]
    else:
        corners = [(right // 2, 0 if config.crop == "top" else down // 2)]
    flips = (False, True) if config.flip else (False,)
    return tuple(View(left, top, flip) for left, top in dict.fromkeys(corners) for flip in flips)


def time_ids(size: Size, resized: Size, bucket: Size, view: View) -> tuple[int, int, int, int, int, int]:
    """SDXL's size conditioning in pixels: original height, width, crop top, left, target height, width.

    As in section 2.2 of the SDXL paper (arXiv 2307.01952) and diffusers' ``train_text_to_image_lora_sdxl``: the crop
    corner counts in the resized image, which is mirrored before it is cut.
    """
    left = resized[0] - bucket[0] - view.left if view.flip else view.left
    return size[1], size[0], view.top, left, bucket[1], bucket[0]
