"""PNG files without the text in them, of which Pillow refuses to read more than a megabyte (ComfyUI's workflows)."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PROFILE = b"iCCP"
_PIXELS = b"IDAT"
# The largest profiles of printers have a few megabytes.
_LARGEST_PROFILE = 64 << 20
_LONGEST_PROFILE_NAME = 80


def lean(file: BinaryIO, header_only: bool) -> tuple[BinaryIO, bytes | None]:
    """A PNG file without text and colour profile, and the profile; ``file`` itself, rewound, where it holds neither.

    Args:
        file: at any place.
        header_only: whether what follows the first pixels may be missing from the result.
    """
    chunks, dropped, profile = [SIGNATURE], False, None
    file.seek(len(SIGNATURE))
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == _PIXELS and header_only:
            chunks.append(start)
            break
        # A chunk is not longer than the file, whatever its length says: read() stops there.
        if kind in _TEXT or kind == _PROFILE:
            dropped = True
            content = file.read(length + 4) if kind == _PROFILE else b""
            profile = profile or (_inflated(content[:-4]) if content else None)
            if not content:
                file.seek(length + 4, 1)
        else:
            chunks += [start, file.read(length + 4)]
    if not dropped:
        file.seek(0)
        return file, None
    return BytesIO(b"".join(chunks)), profile


def _inflated(content: bytes) -> bytes | None:
    """The profile in an iCCP chunk; None where it is damaged or absurdly large."""
    name, ended, rest = content.partition(b"\0")
    if not ended or len(name) >= _LONGEST_PROFILE_NAME or rest[:1] != b"\0":
        return None
    packed = zlib.decompressobj()
    try:
        profile = packed.decompress(rest[1:], _LARGEST_PROFILE)
    except zlib.error:
        return None
    return profile if packed.eof else None
