"""Whether a finished image is what its channel wants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import marks
from ..errors import UserError
from ..marks import iptc
from ..marks.formats import of_content
from . import framing, placing
from .channel import Channel
from .framing import Box

# How much of the edge has to be white, in pixels.
_EDGE = 2
# A JPEG spoils colours within its blocks of so many pixels, around what is not white.
_BLOCK = 16
# Darker than this is the product, not what a JPEG has made of white.
_NOT_WHITE = 240
_SHARE_TOLERANCE = 0.005
_HEAD = 16


def problems(path: Path, channel: Channel, mask: Image.Image | None = None) -> list[str]:
    """What of the channel's demands a file does not meet, as sentences; empty where it meets all that can be measured.

    A visible mark is not looked for; on a white background it counts as what is not white.

    Args:
        path: of the finished image.
        channel: what is wanted.
        mask: mode L, of the file's size, white on the product.

    Raises:
        UserError: the file is no image that can be read, or the mask is of another size.
    """
    try:
        with path.open("rb") as file:
            format = of_content(file.read(_HEAD))
        with Image.open(path) as opened:
            opened.load()
            image = opened.convert("RGBA" if "A" in opened.mode else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: the image cannot be read ({error}); write it again.") from error
    if mask is not None and mask.size != image.size:
        raise UserError(f"mask: its size is {mask.size}, that of {path} {image.size}; both have to be of one size.")
    found = [] if format == channel.format else [f"The format is {format}, {channel.name} wants {channel.format}."]
    found += _of_size(image, channel)
    found += _of_weight(path.stat().st_size, channel)
    found += _of_background(image, channel, mask)
    found += _of_share(image, channel, mask)
    return found + (_of_marks(path) if format is not None else [])


def _of_size(image: Image.Image, channel: Channel) -> list[str]:
    size, (width, height) = channel.size, image.size
    has = f"The image has {width} x {height} pixels, {channel.name} wants"
    if size.width and width != size.width:
        return [f"{has} a width of {size.width}."]
    if size.is_exact and image.size != size.low:
        return [f"{has} {size.low[0]} x {size.low[1]}."]
    if width < size.low[0] or height < size.low[1]:
        return [f"{has} at least {size.low[0]} x {size.low[1]}."]
    if size.high is not None and (width > size.high[0] or height > size.high[1]):
        return [f"{has} at most {size.high[0]} x {size.high[1]}."]
    across, down = channel.aspect or image.size
    if abs(width * down - height * across) > max(across, down):
        return [f"{has} the proportions {across} : {down}."]
    return []


def _of_weight(count: int, channel: Channel) -> list[str]:
    if channel.least_bytes <= count <= channel.most_bytes:
        return []
    wanted = channel.weight_kb
    return [f"The file weighs {count / 1000:.0f} kB, {channel.name} wants {wanted.low:g} to {wanted.high:g}."]


def _of_background(image: Image.Image, channel: Channel, mask: Image.Image | None) -> list[str]:
    if channel.background == "any":
        return []
    pixels = np.asarray(image)
    transparent = channel.background == "transparent"
    if transparent and image.mode != "RGBA":
        return [f"The image has no transparency, {channel.name} wants nothing around the product."]
    wrong = pixels[..., 3] > 0 if transparent else (pixels[..., :3] < 255).any(axis=-1)
    wrong = wrong & (_edge(image) if mask is None else _edge(image) | _far_from(mask))
    count = int(wrong.sum())
    kind = "transparent" if transparent else "white"
    return [f"{count} pixels of the background are not {kind}, as {channel.name} wants them."] if count else []


def _edge(image: Image.Image) -> NDArray[np.bool_]:
    edge = np.ones((image.height, image.width), dtype=bool)
    edge[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    return edge


def _far_from(mask: Image.Image) -> NDArray[np.bool_]:
    """The pixels in blocks that neither the product nor its soft edge touches, nor do the blocks beside them."""
    seen = np.asarray(mask.convert("L")) > 0
    height, width = seen.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.zeros((rows * _BLOCK, columns * _BLOCK), dtype=bool)
    padded[:height, :width] = seen
    blocks = np.pad(padded.reshape(rows, _BLOCK, columns, _BLOCK).any(axis=(1, 3)), 1)
    near = np.zeros((rows, columns), dtype=bool)
    for down in range(3):
        for across in range(3):
            near |= blocks[down : down + rows, across : across + columns]
    return ~near.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:height, :width]


def _of_share(image: Image.Image, channel: Channel, mask: Image.Image | None) -> list[str]:
    wanted = channel.product_share
    product = _product(image, channel, mask)
    if product is None:
        return []
    share = framing.share(product, *image.size)
    if wanted.low - _SHARE_TOLERANCE <= share <= wanted.high + _SHARE_TOLERANCE:
        return []
    return [f"The product takes {share:.0%} of the image, {channel.name} wants {wanted.low:.0%} to {wanted.high:.0%}."]


def _product(image: Image.Image, channel: Channel, mask: Image.Image | None) -> Box | None:
    """What the product covers: by its mask, else what is not background; None where neither tells."""
    if mask is not None:
        return placing.product_box(mask.convert("L"))
    if channel.background == "any":
        return None
    if channel.background == "transparent":
        return placing.seen(image.getchannel("A")) if image.mode == "RGBA" else None
    darkest = np.asarray(image)[..., :3].min(axis=-1)
    return Image.fromarray(np.where(darkest < _NOT_WHITE, 255, 0).astype(np.uint8)).getbbox()


def _of_marks(path: Path) -> list[str]:
    found = marks.read(path)
    problems = []
    if not any(source in iptc.SOURCES for source in found.sources):
        problems.append("The file has no digital source type of IPTC which says that AI made it; finish it again.")
    if found.labels != 1 or found.aigc is None:
        problems.append(f"The file has {found.labels} labels of GB 45438-2025 instead of one; finish it again.")
    return problems
