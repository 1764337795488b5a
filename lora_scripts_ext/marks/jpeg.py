"""JPEG: XMP and EXIF are segments of at most 64 kB, which some Pillows do not write by themselves."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image

from ..errors import UserError
from . import exif

MIME = "image/jpeg"
QUALITY = True
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0\0"
_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
# The length of a segment is a number of two bytes and counts these.
_LARGEST_SEGMENT = 0xFFFF - 2


def encoded(image: Image.Image, packet: bytes, parameters: str, quality: int, profile: bytes) -> bytes:
    """The file, with the colours of every pixel (4:4:4).

    Raises:
        UserError: the packet or the parameters do not fit into a segment.
    """
    segments = _segment(_XMP + packet, "The XMP packet")
    if parameters:
        segments = _segment(_EXIF + exif.block(parameters), "The generation parameters") + segments
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=quality, subsampling=0, icc_profile=profile or None, extra=segments)
    return out.getvalue()


def packets(content: bytes) -> list[bytes]:
    """The XMP packets of a file."""
    return [one.removeprefix(_XMP) for kind, one in _segments(content) if kind == _APP1 and one.startswith(_XMP)]


def parameters(content: bytes) -> str:
    """The generation parameters of a file; empty where it has none."""
    return exif.user_comment(content)


def _segment(content: bytes, what: str) -> bytes:
    if len(content) > _LARGEST_SEGMENT:
        raise UserError(
            f"{what} would take {len(content)} bytes, and a JPEG holds at most {_LARGEST_SEGMENT}; shorten them, "
            "or write a PNG."
        )
    return struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of every segment in front of the pixels."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        kind = content[at + 1]
        if kind in (_START_OF_SCAN, _END):
            return
        if kind == 0xFF:  # a byte of padding
            at += 1
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        yield kind, content[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)
