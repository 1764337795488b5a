"""The size that a model draws at, and the size that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from ..contract import DrawRequest, Inpainting


def widened(request: DrawRequest, step: int) -> DrawRequest:
    """The request with sides in multiples of ``step`` pixels: what is too much is at the right and at the bottom."""
    width, height = (-(-side // step) * step for side in (request.width, request.height))
    inpainting = request.inpainting
    if inpainting is not None:
        image, mask = (
            _padded(one, width, height) for one in (inpainting.image.convert("RGB"), inpainting.mask.convert("L"))
        )
        inpainting = Inpainting(image, mask, inpainting.denoising_strength)
    regions = tuple(
        replace(region, mask=_padded(region.mask.convert("L"), width, height)) for region in request.regions
    )
    return replace(request, width=width, height=height, inpainting=inpainting, regions=regions)


def finished(drawn: Image.Image, request: DrawRequest) -> Image.Image:
    """RGB of the request's size, with the very pixels of what was to stay."""
    image = drawn.convert("RGB").crop((0, 0, request.width, request.height))
    if request.inpainting is None:
        return image
    return Image.composite(image, request.inpainting.image.convert("RGB"), request.inpainting.mask.convert("L"))


def whole_cells(mask: Image.Image, side: int) -> Image.Image:
    """``mask`` with every cell of ``side`` pixels white in which any pixel is not black; its sides are multiples.

    A latent cell that the mask touches is inpainted as a whole, or its share of the old image would remain.
    """
    pixels = np.asarray(mask)
    height, width = (length // side for length in pixels.shape)
    cells = pixels.reshape(height, side, width, side).max(axis=(1, 3)) > 0
    return Image.fromarray(np.kron(cells, np.ones((side, side), bool)).astype(np.uint8) * 255)


def _padded(image: Image.Image, width: int, height: int) -> Image.Image:
    """At its right and bottom the pixels of its edge are repeated."""
    pixels = np.asarray(image)
    more = [(0, height - image.height), (0, width - image.width), (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, more, mode="edge"))
