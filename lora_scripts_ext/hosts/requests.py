"""What every host asks of a request to draw, before it looks at its own limits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..contract import DrawRequest
from ..errors import UserError

#: size in bytes and modification time in ns, which differ for another file of the same name
Stamp = tuple[int, int]


def stamp(file: Path) -> Stamp:
    """That of a file; a missing one is named when it is read."""
    try:
        status = file.stat()
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def require_sound(request: DrawRequest) -> None:
    """The request's images have its size, and its numbers are ones that can be drawn with.

    Raises:
        UserError: they do not, or are not.
    """
    size = request.width, request.height
    if min(*size, request.steps) < 1:
        raise UserError(
            f"An image of {size[0]} x {size[1]} pixels in {request.steps} steps cannot be drawn; give numbers of at "
            "least 1."
        )
    if request.inpainting is not None:
        strength = request.inpainting.denoising_strength
        if not 0 <= strength <= 1:
            raise UserError(f"denoising_strength is {strength:g}; give a number from 0 to 1.")
        for name, image in (("image", request.inpainting.image), ("mask", request.inpainting.mask)):
            if image.size != size:
                raise UserError(
                    f"The {name} to inpaint has {image.width} x {image.height} pixels, what is to be drawn has "
                    f"{size[0]} x {size[1]}; resize it."
                )
    _require_regions(request)
    for lora in (*request.loras, *(lora for region in request.regions for lora in region.loras)):
        if not math.isfinite(lora.weight):
            raise UserError(f"{lora.file}: its weight is {lora.weight:g}; give a finite number.")


def _require_regions(request: DrawRequest) -> None:
    for number, region in enumerate(request.regions, 1):
        if region.mask.size != (request.width, request.height):
            raise UserError(
                f"The mask of region {number} has {region.mask.width} x {region.mask.height} pixels, what is to be "
                f"drawn has {request.width} x {request.height}; resize it."
            )
    if request.regions:
        covered = np.max([np.asarray(region.mask.convert("L")) for region in request.regions], axis=0)
        if not covered.all():
            raise UserError("The masks of the regions leave a part of the image out; make them cover all of it.")
