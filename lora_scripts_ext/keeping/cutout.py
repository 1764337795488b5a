"""A product cut out of its photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..errors import UserError
from ..images import decode
from . import flood, segmentation

Source = Literal["alpha", "mask", "background", "model"]


@dataclass(frozen=True)
class Cutout:
    """A product without its background.

    Attributes:
        pixels: RGB, the product's own colours; where it is transparent they mean nothing.
        alpha: mode L, of the same size: how much of each pixel is product.
        source: what separated the product from its background.
    """

    pixels: Image.Image
    alpha: Image.Image
    source: Source

    @property
    def mask(self) -> Image.Image:
        """Mode L, 255 where most of the pixel is product and 0 elsewhere."""
        return binary(self.alpha)

    def on_white(self) -> Image.Image:
        """RGB, the product before pure white, as main images want it."""
        return Image.composite(self.pixels, Image.new("RGB", self.pixels.size, "white"), self.alpha)


def binary(alpha: Image.Image) -> Image.Image:
    """Mode L, 255 where at least half of the pixel counts and 0 elsewhere."""
    return alpha.point([255 * (value >= 128) for value in range(256)])


def cut_out(photo: Path, mask: Path | None = None, model: str = segmentation.DEFAULT) -> Cutout:
    """Cut the product out: by the mask where there is one, by the photo's own transparency, by a plain near-white
    background, else by a model of rembg's.

    Args:
        photo: of the product.
        mask: white where the product is, as large as the photo.
        model: rembg's name of a model; one that may not be used commercially is refused even where none is needed.

    Raises:
        UserError: a file cannot be read, the mask does not fit, or the product cannot be separated from its background.
    """
    segmentation.require_licence(model)
    decoded = _read(photo)
    pixels = decoded.pixels
    if mask is not None:
        return _checked(photo, Cutout(pixels, _mask(mask, photo, pixels.size), "mask"))
    if decoded.alpha is not None and np.asarray(decoded.alpha).min() < 128:
        return _checked(photo, Cutout(_without_white(pixels, decoded.alpha), decoded.alpha, "alpha"))
    found = flood.product_mask(np.asarray(pixels))
    if found is not None:
        return _checked(photo, Cutout(pixels, Image.fromarray(found.astype(np.uint8) * 255), "background"))
    try:
        return _checked(photo, Cutout(pixels, segmentation.alpha(pixels, model), "model"))
    except UserError as error:
        raise UserError(
            f"{photo}: its background is not plain white; give it a transparent one or a mask. {error}"
        ) from error


def _read(path: Path) -> decode.DecodedImage:
    try:
        return decode.decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: this photo cannot be read ({error.strerror}); check the path.") from error
    except decode.Unreadable as error:
        raise UserError(f"{path}: this photo {error}; choose another.") from error


def _mask(path: Path, photo: Path, size: tuple[int, int]) -> Image.Image:
    try:
        mask = decode.decode_mask(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: this mask cannot be read ({error.strerror}); check the path.") from error
    except decode.Unreadable as error:
        raise UserError(f"{path}: this mask {error}; choose another.") from error
    if mask.size != size:
        raise UserError(
            f"{path}: this mask has {mask.width} x {mask.height} pixels, its photo {photo.name} has {size[0]} x "
            f"{size[1]}; make it as large."
        )
    return mask


def _checked(photo: Path, cutout: Cutout) -> Cutout:
    if cutout.mask.getbbox() is None:
        raise UserError(f"{photo}: by its {cutout.source} there is no product in it; check photo and mask.")
    return cutout


def _without_white(pixels: Image.Image, alpha: Image.Image) -> Image.Image:
    """The colours before the transparent ones were laid on white."""
    share = np.asarray(alpha, np.float32)[..., None] / 255
    laid = np.asarray(pixels, np.float32)
    own = (laid - 255 * (1 - share)) / np.maximum(share, 1 / 255)
    return Image.fromarray(np.where(share == 1, laid, own.clip(0, 255)).round().astype(np.uint8))
