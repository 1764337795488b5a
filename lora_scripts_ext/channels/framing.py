"""How large a channel's image becomes, and which part of a candidate it shows."""

from __future__ import annotations

from ..errors import UserError
from .channel import Channel
from .keys import Pair

#: left, top, right, bottom in pixels, which need not be whole
Box = tuple[float, float, float, float]
# Rounding to whole pixels must not push a product out of the share that the channel allows.
_SHARE_MARGIN = 0.01
# More would bring a product so near to the edge that a JPEG's blocks there are not white any more.
_FULLEST = 0.96
_ROUNDING = 1e-6


def ratio(channel: Channel, size: Pair) -> float:
    """Width over height of the channel's image of a candidate of this ``size``."""
    width, height = channel.aspect or size
    return width / height


def drawn_size(channel: Channel, side: int, step: int) -> Pair:
    """The size to draw a candidate at for this channel: its proportions, about ``side`` x ``side`` pixels in all, both
    sides multiples of ``step``."""
    wanted = ratio(channel, (side, side))
    width, height = side * wanted**0.5, side / wanted**0.5
    return max(step, round(width / step) * step), max(step, round(height / step) * step)


def frame(channel: Channel, width: float, height: float) -> Pair:
    """The size of the channel's image of something that has, in its own pixels, this size and the right ratio."""
    size = channel.size
    if size.is_exact:
        return size.low
    if size.width:
        return size.width, max(1, round(size.width * height / width))
    factor = max(1.0, size.low[0] / width, size.low[1] / height)
    if size.high is not None:
        factor = min(factor, size.high[0] / width, size.high[1] / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def enlargement(channel: Channel, size: Pair) -> float:
    """Pixels of the channel's image for one of a candidate's of this ``size`` that is shown in part."""
    left, top, right, bottom = window(channel, size, None)
    return frame(channel, right - left, bottom - top)[0] / (right - left)


def share(product: Box, width: float, height: float) -> float:
    """The product's extent over the frame's, along the side that it fills more."""
    left, top, right, bottom = product
    return max((right - left) / width, (bottom - top) / height)


def wanted_share(channel: Channel, present: float) -> float:
    """The share that the channel allows which is nearest to the ``present`` one."""
    low, high = channel.product_share.low, channel.product_share.high
    low, high = min(low + _SHARE_MARGIN, high), max(min(high - _SHARE_MARGIN, _FULLEST), low)
    return min(max(present, low), high)


def window(channel: Channel, size: Pair, product: Box | None) -> Box:
    """The largest part of a candidate of this ``size`` that has the channel's ratio, with the product in its middle as
    far as that can be; smaller where the product would fill too little of it.

    Raises:
        UserError: the product does not fit into it.
    """
    wanted = ratio(channel, size)
    width, height = min(size[0], size[1] * wanted), min(size[1], size[0] / wanted)
    middle = (size[0] / 2, size[1] / 2)
    if product is not None:
        middle = ((product[0] + product[2]) / 2, (product[1] + product[3]) / 2)
        filled = share(product, width, height)
        if filled > 1 + _ROUNDING:
            raise UserError(
                f"The product takes {product[2] - product[0]:g} x {product[3] - product[1]:g} of {size[0]} x {size[1]} "
                f"pixels and does not fit into the part that {channel.name} shows, {width:.0f} x {height:.0f}; take a "
                "candidate with more room around it, or one in the channel's proportions."
            )
        smaller = min(1.0, filled / wanted_share(channel, filled))
        width, height = width * smaller, height * smaller
    left = min(max(middle[0] - width / 2, 0.0), size[0] - width)
    top = min(max(middle[1] - height / 2, 0.0), size[1] - height)
    return left, top, left + width, top + height
