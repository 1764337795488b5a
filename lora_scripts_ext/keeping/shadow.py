"""The shadow that a product throws where it stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .light import Light
from .placing import Placed

# Heights of the two shadows, in shares of the product's width: the dark line of contact, and the wide one around it.
_CONTACT, _WIDE = 0.03, 0.14


def thrown(scene: Image.Image, placed: Placed, light: Light, strength: float = 0.55) -> Image.Image:
    """The scene, RGB, with the product's shadow on the ground; the product itself is not put in.

    The shadow falls away from the light, is harder in a scene of hard contrasts, and takes on the colour that is left
    where the light's own is missing. ``strength`` is that of its darkest part, from 0 to 1.
    """
    shade = coverage(placed.mask, light) * strength
    # What is lit by the sky or the walls alone lacks most of what the light has most of.
    missing = 1 - 0.25 * (1 - np.array(light.colour))
    pixels = np.asarray(scene.convert("RGB"), np.float32)
    dark = pixels * (1 - shade[..., None] * missing)
    return Image.fromarray(dark.clip(0, 255).round().astype(np.uint8))


def coverage(mask: Image.Image, light: Light) -> NDArray[np.float32]:
    """How much shadow there is, float32 [height, width] from 0 to 1."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    width = right - left
    foot = _foot(mask, (left, top, right, bottom))
    softness = 1.5 - min(1.0, light.contrast)
    contact = _ellipse(mask.size, foot, bottom, _CONTACT * width, 0.0, 0.012 * width * softness)
    shift = -light.across * 0.18 * width
    wide = _ellipse(mask.size, foot, bottom, _WIDE * width, shift, 0.06 * width * softness)
    return np.maximum(0.9 * contact, 0.6 * wide).astype(np.float32)


def _foot(mask: Image.Image, box: tuple[int, int, int, int]) -> tuple[int, int]:
    """The left and right end of what stands on the ground: the lowest sixteenth of the product."""
    left, top, right, bottom = box
    lowest = mask.crop((left, bottom - max(1, (bottom - top) // 16), right, bottom)).getbbox()
    return (left, right) if lowest is None else (left + lowest[0], left + lowest[2])


def _ellipse(
    size: tuple[int, int], foot: tuple[int, int], ground: int, height: float, shift: float, blur: float
) -> NDArray[np.float32]:
    """A blurred ellipse on the ground under the foot, moved by ``shift`` to the right."""
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    middle, half = (foot[0] + foot[1]) / 2 + shift, max(1.0, (foot[1] - foot[0]) / 2)
    inside = ((columns - middle) / half) ** 2 + ((rows - ground) / max(1.0, height / 2)) ** 2 <= 1
    drawn = Image.fromarray(inside.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(max(0.5, blur)))
    return np.asarray(drawn, np.float32) / np.float32(255)
