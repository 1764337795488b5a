"""A candidate to the finished image of a channel: its size, background, weight and marks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import files
from ..errors import UserError
from ..marks import Label, encode, visible
from ..marks.c2pa import Credentials
from ..marks.formats import EXTENSIONS, Format
from ..marks.visible import Corner
from . import placing, weight
from .channel import Channel
from .placing import Placed

#: left, top, right, bottom in whole pixels
Crop = tuple[int, int, int, int]
_MOST_ENLARGED = 2.0
_EXTENSIONS: dict[Format, tuple[str, ...]] = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",)}


@dataclass(frozen=True)
class Finished:
    """A finished image.

    Attributes:
        width, height: in pixels.
        bytes: of the file.
        sha256: of the file, in hexadecimal digits.
        warnings: sentences about what a person should look at.
    """

    path: Path
    width: int
    height: int
    bytes: int
    sha256: str
    warnings: tuple[str, ...]


def finish(
    candidate: Image.Image,
    channel: Channel,
    *,
    mask: Image.Image | None = None,
    crop: Crop | None = None,
    label: Label,
    parameters: str | None = None,
    out: Path,
    mark: bool | None = None,
    language: str = "",
    corner: Corner = "bottom-right",
    enlarged: int = 1,
    credentials: Credentials | None = None,
) -> Finished:
    """Write the channel's image of a candidate; the same arguments give the same bytes, but for ``credentials``.

    Args:
        candidate: in sRGB, upright.
        channel: what is wanted.
        mask: mode L, of the candidate's size, white on the product; without it transparency is taken for one.
        crop: the part of the candidate that counts, as a person chose it.
        label: who made the image, and how.
        parameters: the generation parameters for the file; None leaves them out.
        out: the file; the extension of the channel's format is added where it has another one.
        mark: whether the visible mark is drawn; None does as the channel says.
        language: of the visible mark; empty takes the channel's first.
        corner: of the visible mark.
        enlarged: how many times what is around a kept product is enlarged already.
        credentials: signs the file as C2PA wants it.

    Raises:
        UserError: mask or crop do not fit the candidate, the candidate does not fit the channel (one that wants white
            takes an image with another background only with a mask), or the label is wrong.
    """
    image, mask = _parts(candidate, channel, mask, crop)
    placed = _placed(image, mask, channel)
    warnings = _warnings(image, mask, placed, channel, enlarged)
    finished = placed.image
    if mark if mark is not None else channel.visible_mark == "required":
        words = visible.text(language or channel.languages[0], label.source)
        finished = visible.draw(finished, words, corner)

    def encoded(quality: int) -> bytes:
        return encode(
            finished, channel.format, label=label, parameters=parameters, quality=quality, credentials=credentials
        )

    content = weight.fitted(encoded, channel)
    path = out if out.suffix.lower() in _EXTENSIONS[channel.format] else Path(f"{out}{EXTENSIONS[channel.format]}")
    files.write_bytes(path, content)
    digest = hashlib.sha256(content).hexdigest()
    return Finished(path, finished.width, finished.height, len(content), digest, warnings)


def _parts(
    candidate: Image.Image, channel: Channel, mask: Image.Image | None, crop: Crop | None
) -> tuple[Image.Image, Image.Image | None]:
    """The candidate's colours and the product's mask, within the crop."""
    if mask is not None and mask.size != candidate.size:
        raise UserError(
            f"mask: it has {mask.width} x {mask.height} pixels and the image {candidate.width} x {candidate.height}; "
            "both have to be of one size."
        )
    has_alpha = candidate.mode in ("RGBA", "LA", "PA") or "transparency" in candidate.info
    whole = candidate.convert("RGBA" if has_alpha else "RGB")
    image = whole.convert("RGB")
    if has_alpha:
        if mask is not None or channel.background == "any":
            # What is transparent has colours, too, which nobody has seen yet.
            image = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
        mask = mask or whole.getchannel("A")
    mask = mask.convert("L") if mask is not None else None
    if crop is None:
        return image, mask
    left, top, right, bottom = crop
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise UserError(
            f"crop: {left}, {top}, {right}, {bottom} does not lie within {image.width} x {image.height} pixels; give "
            "left, top, right and bottom."
        )
    return image.crop(crop), None if mask is None else mask.crop(crop)


def _placed(image: Image.Image, mask: Image.Image | None, channel: Channel) -> Placed:
    if channel.background == "any":
        return placing.shown_in_part(image, mask, channel)
    if mask is not None:
        return placing.cut_out(image, mask, channel)
    if channel.background == "transparent":
        raise UserError(f"mask: {channel.name} wants the product cut out; give its mask, or a transparent image.")
    if not _is_white_around(image):
        raise UserError(
            f"mask: {channel.name} wants a white background, and this image has another; give the product a photo or a "
            "mask, or draw it on plain white."
        )
    return placing.on_white(image, channel)


def _warnings(
    image: Image.Image, mask: Image.Image | None, placed: Placed, channel: Channel, enlarged: int
) -> tuple[str, ...]:
    found = []
    scale = placed.scale * enlarged
    if scale > _MOST_ENLARGED:
        what = "The scene around the product" if enlarged > 1 else "The image"
        found.append(f"{what} is enlarged {scale:.1f} times for {channel.name}; draw it larger to have more detail.")
    if mask is not None:
        left, top, right, bottom = placing.product_box(mask)
        if left == 0 or top == 0 or right == image.width or bottom == image.height:
            found.append("The product reaches the edge of the image and may be cut off; look at it.")
    return tuple(found)


def _is_white_around(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return all(bool((edge == 255).all()) for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
