"""The quality at which a file is neither too heavy nor too light for a channel."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UserError
from ..marks.formats import FORMATS
from .channel import Channel


def fitted(encode: Callable[[int], bytes], channel: Channel) -> bytes:
    """The file of the best quality within the channel's range whose weight the channel allows.

    Args:
        encode: the file of a quality; a better one weighs more.
        channel: with its format, range of qualities and weights.

    Raises:
        UserError: none of them has the right weight.
    """
    low, high = round(channel.quality.low), round(channel.quality.high)
    is_lossless = not FORMATS[channel.format].QUALITY
    content = encode(high)
    if len(content) > channel.most_bytes and not is_lossless:
        content = _heaviest_allowed(encode, low, high - 1, channel.most_bytes) or encode(low)
    if len(content) > channel.most_bytes:
        remedy = "let its file say format: JPEG" if is_lossless else "lower quality: min in its file"
        raise UserError(
            f"The file for {channel.name} weighs {len(content) / 1000:.0f} kB at least, and the channel allows "
            f"{channel.weight_kb.high:g}; take a candidate with less detail, or {remedy}."
        )
    if len(content) < channel.least_bytes:
        raise UserError(
            f"The file for {channel.name} weighs {len(content) / 1000:.0f} kB at most, and the channel wants at least "
            f"{channel.weight_kb.low:g}; take a candidate with more detail, or raise quality: max in its file."
        )
    return content


def _heaviest_allowed(encode: Callable[[int], bytes], low: int, high: int, most: int) -> bytes | None:
    """By bisection of the qualities from ``low`` to ``high``; None where all of them are too heavy."""
    best = None
    while low <= high:
        quality = (low + high) // 2
        content = encode(quality)
        if len(content) <= most:
            best, low = content, quality + 1
        else:
            high = quality - 1
    return best
