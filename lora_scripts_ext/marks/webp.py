"""WebP: XMP and EXIF are chunks of the RIFF container."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image

from . import exif

MIME = "image/webp"
QUALITY = True
_HEADER = len(b"RIFF....WEBP")


def encoded(image: Image.Image, packet: bytes, parameters: str, quality: int, profile: bytes) -> bytes:
    """The file."""
    block = exif.block(parameters) if parameters else b""
    out = io.BytesIO()
    image.save(out, format="WEBP", quality=quality, icc_profile=profile or None, exif=block, xmp=packet)
    return out.getvalue()


def packets(content: bytes) -> list[bytes]:
    """The XMP packets of a file."""
    return [chunk for kind, chunk in _chunks(content) if kind == b"XMP "]


def parameters(content: bytes) -> str:
    """The generation parameters of a file; empty where it has none."""
    return exif.user_comment(content)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk; each begins at an even place."""
    at = _HEADER
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        yield kind, content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
