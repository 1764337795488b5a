"""The subject of a photo put on white."""

from __future__ import annotations

from PIL import Image

from ..errors import UserError
from ..keeping import segmentation


def require() -> None:
    """Make sure that backgrounds can be removed.

    Raises:
        UserError: rembg is missing, or its model is not on this machine.
    """
    try:
        segmentation.require()
    except UserError as error:
        raise UserError(f"Backgrounds cannot be removed; leave them, or mend this. {error}") from error


def on_white(image: Image.Image) -> Image.Image:
    """An RGB image with only its subject, on white; nothing is fetched from anywhere.

    Raises:
        UserError: as for :func:`require`.
    """
    return Image.composite(image, Image.new("RGB", image.size, "white"), segmentation.alpha(image))
