"""PNG: XMP and generation parameters are chunks of text."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image
from PIL.PngImagePlugin import PngInfo

MIME = "image/png"
QUALITY = False
_XMP = "XML:com.adobe.xmp"
_PARAMETERS = "parameters"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Texts of a damaged or hostile file may unpack to anything.
_LARGEST_TEXT = 16 << 20


def encoded(image: Image.Image, packet: bytes, parameters: str, quality: int, profile: bytes) -> bytes:
    """The file; ``quality`` says nothing to a lossless format."""
    info = PngInfo()
    # Not compressed, as ISO 16684-3 wants it.
    info.add_itxt(_XMP, packet.decode("utf-8"))
    if parameters:
        info.add_text(_PARAMETERS, parameters)
    out = io.BytesIO()
    image.save(out, format="PNG", pnginfo=info, icc_profile=profile or None)
    return out.getvalue()


def packets(content: bytes) -> list[bytes]:
    """The XMP packets of a file."""
    return [text for key, text in _texts(content) if key == _XMP.encode()]


def parameters(content: bytes) -> str:
    """The generation parameters of a file; empty where it has none."""
    return next(
        (text.decode("utf-8", "replace") for key, text in _texts(content) if key == _PARAMETERS.encode()),
        "",
    )


def _texts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keyword and UTF-8 text of every chunk of text."""
    at = len(_SIGNATURE)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        key, _, rest = content[at + 8 : at + 8 + length].partition(b"\0")
        if kind == b"tEXt":
            yield key, rest.decode("latin-1").encode("utf-8")
        elif kind == b"zTXt":
            yield key, _inflated(rest[1:]).decode("latin-1").encode("utf-8")
        elif kind == b"iTXt":
            # Behind the two bytes about compression: language, translated keyword, text.
            text = [*rest[2:].split(b"\0", 2), b"", b""][2]
            yield key, _inflated(text) if rest[:1] == b"\1" else text
        at += length + 12


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST_TEXT)
    except zlib.error:
        return b""
