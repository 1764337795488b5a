"""One image of two products, each in its half, with its own prompt and LoRAs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from ..contract import DrawRequest, Region, WeightedLora

#: pixels over which one half passes into the other, at the resolution that Stable Diffusion 1 was trained at
BLEND = 32


def halves(width: int, height: int, blend: float) -> tuple[Image.Image, Image.Image]:
    """Masks of the left and the right half, mode ``L``; around the middle one passes into the other over ``blend``
    pixels. In every pixel they add up to 255."""
    ramp = [_share(column + 0.5 - width / 2, blend) for column in range(width)]
    left, right = (Image.new("L", (width, 1)) for _ in range(2))
    left.putdata([255 - one for one in ramp])
    right.putdata(ramp)
    return left.resize((width, height)), right.resize((width, height))


def request(
    base: DrawRequest, prompts: Sequence[str], loras: Sequence[Sequence[WeightedLora]], blend: float
) -> DrawRequest:
    """``base`` with the left and the right product's prompt and LoRAs, each in its half."""
    masks = halves(base.width, base.height, blend)
    regions = tuple(Region(prompt, tuple(own), mask) for prompt, own, mask in zip(prompts, loras, masks, strict=True))
    return replace(base, regions=regions)


def _share(distance: float, blend: float) -> int:
    """Of the right half, 0 to 255, at this distance from the middle."""
    if not blend:
        return 255 if distance > 0 else 0
    return round(255 * min(1.0, max(0.0, distance / blend + 0.5)))
