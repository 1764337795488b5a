"""A candidate in a channel's frame: cut out, shown in part, or whole with white around it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops

from ..errors import UserError
from . import framing
from .channel import Channel
from .framing import Box
from .keys import Pair

_LANCZOS = Image.Resampling.LANCZOS
# Where a mask is at least this opaque, the product is seen.
_SEEN = 128


@dataclass(frozen=True)
class Placed:
    """An image of the channel's size.

    Attributes:
        image: RGB, or RGBA where the channel wants nothing around the product.
        scale: its pixels for each of the candidate's.
    """

    image: Image.Image
    scale: float


def seen(mask: Image.Image) -> Box | None:
    """What a mask in mode L covers, without the outer half of soft edges; None where it covers nothing."""
    return mask.point(lambda value: 255 if value >= _SEEN else 0).getbbox()


def product_box(mask: Image.Image) -> Box:
    """What the product covers.

    Raises:
        UserError: the mask has no product.
    """
    box = seen(mask)
    if box is None:
        raise UserError("mask: it is black everywhere; paint the product white.")
    return box


def cut_out(image: Image.Image, mask: Image.Image, channel: Channel) -> Placed:
    """The product alone, in the middle of the frame, in the share that the channel wants; around it exactly white,
    or nothing where it wants that.

    Args:
        image: RGB.
        mask: mode L, of its size: white on the product, grey along soft edges.
        channel: with a white or transparent background.
    """
    product = product_box(mask)
    wanted = framing.wanted_share(channel, framing.share(product, *image.size))
    ratio = framing.ratio(channel, image.size)
    width = max(product[2] - product[0], (product[3] - product[1]) * ratio) / wanted
    size = framing.frame(channel, width, width / ratio)
    scale = size[0] / width
    soft = mask.getbbox() or (0, 0, *mask.size)
    piece = image.convert("RGBA")
    piece.putalpha(mask)
    piece = _scaled(piece.crop(soft), scale)
    middle = ((product[0] + product[2]) / 2 - soft[0], (product[1] + product[3]) / 2 - soft[1])
    layer = Image.new("RGBA", size, (255, 255, 255, 0))
    layer.paste(piece, (round(size[0] / 2 - middle[0] * scale), round(size[1] / 2 - middle[1] * scale)))
    if channel.background == "transparent":
        return Placed(layer, scale)
    return Placed(Image.alpha_composite(Image.new("RGBA", size, "white"), layer).convert("RGB"), scale)


def shown_in_part(image: Image.Image, mask: Image.Image | None, channel: Channel) -> Placed:
    """The largest part of an RGB image that has the channel's proportions and holds the product.

    Raises:
        UserError: the product does not fit into it.
    """
    window = framing.window(channel, image.size, None if mask is None else product_box(mask))
    width, height = window[2] - window[0], window[3] - window[1]
    size = framing.frame(channel, width, height)
    return Placed(image.resize(size, _LANCZOS, box=window), size[0] / width)


def on_white(image: Image.Image, channel: Channel) -> Placed:
    """The whole of an RGB image, with white beside it where it has other proportions than the channel."""
    ratio = framing.ratio(channel, image.size)
    width = max(image.width, image.height * ratio)
    size = framing.frame(channel, width, width / ratio)
    scale = size[0] / width
    inner: Pair = (min(size[0], round(image.width * scale)), min(size[1], round(image.height * scale)))
    around = Image.new("RGB", size, "white")
    around.paste(image.resize(inner, _LANCZOS), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return Placed(around, scale)


def _scaled(piece: Image.Image, scale: float) -> Image.Image:
    """An RGBA image, scaled; its colours do not mix with those of what is transparent, which stays so."""
    size = (max(1, round(piece.width * scale)), max(1, round(piece.height * scale)))
    if size == piece.size:
        return piece
    scaled = piece.resize(size, _LANCZOS)
    # Lanczos rings: it would leave a faint line at some distance from the edge. A bilinear filter does not.
    reached = piece.getchannel("A").resize(size, Image.Resampling.BILINEAR).point(lambda value: 255 if value else 0)
    scaled.putalpha(ImageChops.darker(scaled.getchannel("A"), reached))
    return scaled
