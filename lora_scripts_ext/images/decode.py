"""An image file -> upright 8-bit RGB pixels and its alpha, or the reason why not."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from . import kinds, plugins, png
from .bucket import Size, View
from .edit import UNEDITED, Edit
from .kinds import EXTENSIONS as EXTENSIONS

# Recognised by content, whatever the extension is. Not among them: EPS, for which Pillow would start Ghostscript, and
# formats without a signature, with which damaged files are easily confused.
_FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JXL", "JPEG2000", "PPM", "QOI",
)  # fmt: skip

# Just under what Pillow refuses by itself, so that the bound holds where a host has lifted Pillow's.
MAX_PIXELS = 178_000_000

# What Pillow's decoders are known to raise on damaged files.
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class Unreadable(Exception):
    """An image that cannot be used; the text is the reason, to follow the file's name."""


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image: ``pixels`` in mode RGB, ``alpha`` in mode L or None where the file has none."""

    pixels: Image.Image
    alpha: Image.Image | None


def size(path: Path, edit: Edit = UNEDITED) -> Size:
    """Width and height in pixels, upright and edited, from the file's header only (a TIFF is decoded).

    Raises:
        Unreadable: the file is empty, no image, or too large.
    """
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error
    if empty:
        raise Unreadable("is empty (0 bytes)")
    with _opened(path, header_only=True) as image:
        if image.format == "TIFF":
            return edit.size(_upright(image).size)
        width, height = image.size
        return edit.size((height, width) if _orientation(image) in _TURNED else (width, height))


def decode(content: bytes, edit: Edit = UNEDITED) -> DecodedImage:
    """Decode a file's bytes: first frame, upright, in sRGB, transparency laid on white, then edited.

    Raises:
        Unreadable: the bytes are damaged or too large an image.
    """
    with _opened(io.BytesIO(content)) as image:
        return _decoded(image, edit)


def small(path: Path, side: int, edit: Edit = UNEDITED) -> Image.Image:
    """As ``decode``, mode RGB, no side longer than ``side``: a large JPEG is decoded whole only for a small crop.

    Raises:
        Unreadable: the file is missing, damaged or too large an image.
    """
    with _opened(path) as image:
        # Only JPEG can be decoded at a half, a quarter or an eighth; twice the side leaves the scaling its quality.
        enough = math.ceil(2 * side / edit.smallest_share())
        image.draft(None, (enough, enough))
        pixels = _decoded(image, edit).pixels
        pixels.thumbnail((side, side), Image.Resampling.BICUBIC)
        return pixels


def decode_mask(content: bytes, edit: Edit = UNEDITED) -> Image.Image:
    """Decode a mask file's bytes to mode L, where white counts and black or transparent does not.

    ``edit`` is that of the image that it is the mask of.

    Raises:
        Unreadable: as for ``decode``.
    """
    decoded = decode(content, edit)
    mask = decoded.pixels.convert("L")
    if decoded.alpha is None:
        return mask
    return Image.composite(mask, Image.new("L", mask.size, 0), decoded.alpha)


def crop(image: Image.Image, resized: Size, bucket: Size, view: View, resample: Image.Resampling) -> NDArray[np.uint8]:
    """Resize ``image`` to ``resized``, cut the view of size ``bucket`` out of it, mirror it if the view is flipped.

    Only the pixels of the view are computed, so a panorama costs no more than a square.

    Returns:
        uint8 [height, width, 3] for mode RGB, [height, width] for mode L.
    """
    across, down = image.width / resized[0], image.height / resized[1]
    right, bottom = view.left + bucket[0], view.top + bucket[1]
    box = (
        view.left * across,
        view.top * down,
        min(right * across, image.width),
        min(bottom * down, image.height),
    )
    pixels = np.asarray(image.resize(bucket, resample, box=box))
    return np.ascontiguousarray(pixels[:, ::-1]) if view.flip else pixels


def _decoded(image: Image.Image, edit: Edit) -> DecodedImage:
    profile = image.info.get("icc_profile")
    image = _eight_bit(_upright(image))
    alpha = _alpha(image)
    pixels = _to_srgb(image, profile)
    if alpha is not None:
        white = Image.new("RGB", pixels.size, "white")
        pixels = Image.composite(pixels, white, alpha)
    # Last, so that what is read of the whole image, such as its depth, does not depend on the crop.
    return DecodedImage(edit.apply(pixels), alpha if alpha is None else edit.apply(alpha))


@contextmanager
def _opened(source: Path | io.BytesIO, header_only: bool = False) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong while it is open becomes ``Unreadable``."""
    head = b""
    try:
        with source.open("rb") if isinstance(source, Path) else source as file:
            head = file.read(kinds.HEAD)
            with _image(file, head, header_only) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(_too_large()) from error
    except UnidentifiedImageError as error:
        raise Unreadable(kinds.unidentified(head)) from error
    except _DAMAGED as error:
        raise Unreadable(f"cannot be decoded ({error or type(error).__name__})") from error


def _image(file: BinaryIO, head: bytes, header_only: bool) -> Image.Image:
    """Open the image in ``file``, which begins with ``head``."""
    kind = kinds.of_content(head)
    if kind and kinds.is_reason(kind):
        raise Unreadable(kind)
    plugins.bring(kind)
    Image.init()
    file.seek(0)
    profile = None
    if kind == "PNG":
        file, profile = png.lean(file, header_only)
    image = Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(_too_large())
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _too_large() -> str:
    return f"has more than {MAX_PIXELS // 1_000_000} megapixels; scale it down"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; broken EXIF counts as upright."""
    # Pillow decodes a whole PNG to look for EXIF behind its pixels, where nobody writes it.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """The first frame, decoded and turned as its EXIF asks."""
    orientation = _orientation(image)
    image.load()
    if image.format == "TIFF":  # turned while it was loaded; older Pillows leave the tag as it was
        orientation = 1
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else _kept_info(image.transpose(turn), image)


def _kept_info(turned: Image.Image, image: Image.Image) -> Image.Image:
    turned.info = image.info
    return turned


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16- and 32-bit greyscale to mode L, where Pillow's own conversion would clip it."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        # Modes I and F do not tell their depth: take the smallest usual one that holds the brightest pixel.
        depths = (65535.0, 2.0**31 - 1) if image.mode == "I" else (1.0, 255.0, 65535.0, 2.0**31 - 1)
        white = next((depth for depth in depths if np.nanmax(values) <= depth), depths[-1])
    scaled = np.nan_to_num(values * (255.0 / white))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _alpha(image: Image.Image) -> Image.Image | None:
    if image.mode in ("RGBA", "LA", "PA"):
        return image.getchannel("A")
    if image.mode == "RGBa":  # premultiplied
        return image.getchannel("a")
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        return image.convert("RGBA").getchannel("A")
    return None


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Mode RGB; through the file's ICC profile where it has a usable one that is not sRGB already."""
    if image.mode in ("P", "PA", "LA", "RGBA", "RGBa"):
        plain = image.convert("RGBA").convert("RGB")
    else:
        plain = image if image.mode in ("L", "CMYK", "LAB") else image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                srgb = ImageCms.createProfile("sRGB")
                # None only where it converts in place.
                plain = ImageCms.profileToProfile(plain, source, srgb, outputMode="RGB") or plain
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError):
            pass  # a wrong profile, or a Pillow without colour management: the plain pixels are good enough
    return plain.convert("RGB")
