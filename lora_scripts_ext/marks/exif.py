"""The generation parameters in EXIF, where WebUIs keep them in a JPEG or WebP: ``UserComment``."""

from __future__ import annotations

import io
import struct

from PIL import Image

# "MM": big-endian; 42; the first directory follows at once.
_HEADER = b"MM\0\x2a\0\0\0\x08"
_EXIF_DIRECTORY, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"
_DIRECTORY_BYTES = 2 + 12 + 4


def block(comment: str) -> bytes:
    """A TIFF structure whose EXIF directory holds nothing but the comment, in UTF-16 (CIPA DC-008, 4.6.5)."""
    value = _UNICODE + comment.encode("utf-16-be")
    second = len(_HEADER) + _DIRECTORY_BYTES
    return (
        _HEADER
        + _directory(_EXIF_DIRECTORY, _LONG, 1, second)
        + _directory(_USER_COMMENT, _UNDEFINED, len(value), second + _DIRECTORY_BYTES)
        + value
    )


def user_comment(content: bytes) -> str:
    """The ``UserComment`` of an image file; empty where it has none.

    UTF-16 has the byte order of the EXIF or, from some programs, is big-endian in a little-endian one.
    """
    with Image.open(io.BytesIO(content)) as image:
        value = image.getexif().get_ifd(_EXIF_DIRECTORY).get(_USER_COMMENT, b"")
    if not isinstance(value, bytes):
        return str(value)
    if not value.startswith(_UNICODE):
        return value.removeprefix(_ASCII).rstrip(b"\0").decode("utf-8", "replace")
    texts = [value[len(_UNICODE) :].decode(order, "replace").rstrip("\0") for order in ("utf-16-be", "utf-16-le")]
    # Latin letters read in the wrong order are of another script.
    return max(texts, key=lambda text: sum(character < "\u0250" for character in text))


def _directory(tag: int, kind: int, count: int, value: int) -> bytes:
    """A directory of one entry, the last of its chain."""
    return struct.pack(">HHHIII", 1, tag, kind, count, value, 0)
