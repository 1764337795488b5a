"""The colour profile of finished images: sRGB."""

from __future__ import annotations

import functools
import struct

from PIL import ImageCms

# In the header of a profile (ICC.1:2022, 7.2): when it was made. A fixed time makes equal images equal files.
_TIME = slice(24, 36)
_FIXED_TIME = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


@functools.cache
def srgb() -> bytes:
    """An ICC profile; empty from a Pillow without colour management, where untagged pixels count as sRGB."""
    try:
        made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    except (ImportError, OSError):
        return b""
    made[_TIME] = _FIXED_TIME
    return bytes(made)
