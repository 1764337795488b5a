"""A scene drawn around a product that is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..contract import Drawer, DrawRequest, Inpainting
from .cutout import Cutout, cut_out
from .light import estimate
from .placing import Placed, Placement, place
from .put_back import put_back
from .shadow import thrown

# How far the drawing reaches into the product, and over how many pixels it fades: the model continues what it sees
# there, and the product's own pixels are put back over it.
_REACH, _FEATHER = 5, 2.0
_GROUND = (200, 200, 200)


def plan(placed: Placed) -> Inpainting:
    """What is inpainted around the product: everything but its inside.

    The image that is started from has a neutral ground, so that nothing of the photo's old background is seen. The mask
    reaches a few pixels into the product and is feathered, so that the latents at its edge are drawn, too.
    """
    ground = Image.new("RGB", placed.pixels.size, _GROUND)
    image = Image.composite(placed.pixels, ground, placed.alpha)
    inside = placed.mask.filter(ImageFilter.MinFilter(2 * _REACH + 1)).filter(ImageFilter.GaussianBlur(_FEATHER))
    return Inpainting(image, Image.fromarray(255 - np.asarray(inside)), 1.0)


def kept(
    drawer: Drawer,
    request: DrawRequest,
    photo: Path | Cutout,
    mask: Path | None = None,
    placement: Placement | None = None,
    *,
    shadow: bool = True,
) -> list[Image.Image]:
    """Draw scenes around the product of a photo, one for each seed, RGB of the request's size.

    Inside the mask of the placed product (``placing.place`` with the same arguments) the pixels are the photo's own.

    Args:
        drawer: that can inpaint.
        request: its prompt says what is around the product; its ``inpainting`` is replaced.
        photo: of the product, or the product already cut out.
        mask: see ``cutout.cut_out``.
        placement: where in the frame it is.
        shadow: whether it throws one.

    Raises:
        UserError: the product cannot be cut out or placed, or the drawer cannot draw that.
    """
    cutout = photo if isinstance(photo, Cutout) else cut_out(photo, mask)
    placed = place(cutout, request.width, request.height, placement)
    scenes = drawer.draw(replace(request, inpainting=plan(placed)))
    return [joined(scene, placed, shadow) for scene in scenes]


def joined(scene: Image.Image, placed: Placed, shadow: bool = True) -> Image.Image:
    """The product put into a scene that was drawn for it, with its shadow."""
    if shadow:
        scene = thrown(scene, placed, estimate(scene, placed.mask))
    return put_back(scene, placed)
