"""A scene around a kept product enlarged, and the product with all the detail of its photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .cutout import Cutout
from .placing import Placement, place, scale
from .put_back import put_back

# Pixels around the product that its own colours and the wrapped light reach.
_EDGE = 2


def enlarged(
    image: Image.Image, cutout: Cutout, factor: float, placement: Placement | None = None
) -> tuple[Image.Image, int]:
    """An image of ``scene.kept`` enlarged by a whole number: ``factor`` rounded up, or less where the photo has no more
    detail than that.

    The scene is resampled. The product is not: it is scaled once, from its photo.

    Args:
        image: RGB.
        cutout: the product that is kept in it.
        factor: how many times larger the image is wanted.
        placement: of the product.

    Returns:
        The image, and how many times it is enlarged; the image itself and 1 where that brings nothing.
    """
    detail = 1 / scale(cutout, *image.size, placement)
    times = int(np.ceil(min(factor, detail)))
    if times <= 1:
        return image, 1
    size = image.width * times, image.height * times
    placed = place(cutout, *image.size, placement)
    hidden = placed.alpha.point([255 * (value > 0) for value in range(256)])
    scene = _filled(image, hidden.filter(ImageFilter.MaxFilter(2 * _EDGE + 1)))
    return put_back(scene.resize(size, Image.Resampling.BICUBIC), place(cutout, *size, placement)), times


def _filled(image: Image.Image, hidden: Image.Image) -> Image.Image:
    """What ``hidden`` covers in the colours around it: at its edge those of the nearest pixels, inside of more of them
    (push-pull, Gortler et al., The Lumigraph, 1996)."""
    known = (np.asarray(hidden) == 0)[..., None].astype(np.float32)
    pixels = np.asarray(image.convert("RGB"), np.float32)
    filled = np.where(known > 0, pixels, _pulled(pixels * known, known))
    return Image.fromarray(filled.round().clip(0, 255).astype(np.uint8))


def _pulled(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of the known pixels, ``total`` over ``weight``, for a pixel that has none those of the next coarser level,
    [height, width, channels]."""
    mean = total / np.maximum(weight, 1)
    if weight.shape[:2] == (1, 1) or (weight > 0).all():
        return mean
    fine = _doubled(_pulled(_halved(total), _halved(weight)))
    return np.where(weight > 0, mean, fine[: weight.shape[0], : weight.shape[1]])


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of 2 x 2 pixels."""
    height, width = (-(-side // 2) * 2 for side in values.shape[:2])
    even = np.pad(values, [(0, height - values.shape[0]), (0, width - values.shape[1]), (0, 0)])
    return even.reshape(height // 2, 2, width // 2, 2, -1).sum(axis=(1, 3), dtype=np.float32)


def _doubled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice as high and wide, interpolated."""
    size = 2 * values.shape[1], 2 * values.shape[0]
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, 2, 0)]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes], axis=2)
