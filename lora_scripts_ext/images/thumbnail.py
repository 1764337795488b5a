"""Images as a page shows them: upright, in sRGB; small ones are remembered within bounds."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal

from PIL import Image

from . import decode
from .edit import UNEDITED, Edit

#: sides in pixels that are made; another one is answered with the next larger
SIDES = (160, 320, 640)
#: bytes of thumbnails that are remembered
_ROOM = 64 << 20
_QUALITY = 85
# A page requests all thumbnails at once, and a photo takes up to half a gigabyte while it is decoded.
_DECODING = threading.Semaphore(2)
Kind = Literal["JPEG", "PNG"]
_Key = tuple[Path, int, str, int, int, Edit]


class _Remembered:
    """Files by their key, the least recently used forgotten first, at most ``room`` bytes of them."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._files: OrderedDict[_Key, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: _Key) -> bytes | None:
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
            return self._files.get(key)

    def put(self, key: _Key, content: bytes) -> None:
        with self._lock:
            self._bytes += len(content) - len(self._files.pop(key, b""))
            self._files[key] = content
            while self._bytes > self._room:
                _, oldest = self._files.popitem(last=False)
                self._bytes -= len(oldest)


_REMEMBERED = _Remembered(_ROOM)


def small(path: Path, side: int = SIDES[0], kind: Kind = "JPEG", edit: Edit = UNEDITED) -> bytes:
    """The edited image as a file of this ``kind``, no side longer than the next of ``SIDES`` from ``side`` on.

    Raises:
        Unreadable: it is damaged, too large, or no image.
        OSError: there is no such file.
    """
    side = next((one for one in SIDES if one >= side), SIDES[-1])
    stat = path.stat()
    key = (path, side, kind, stat.st_mtime_ns, stat.st_size, edit)
    content = _REMEMBERED.get(key)
    if content is None:
        with _DECODING:
            content = _packed(decode.small(path, side, edit), kind)
        _REMEMBERED.put(key, content)
    return content


def whole(path: Path, edit: Edit = UNEDITED) -> bytes:
    """The edited image as PNG in its own size.

    Raises:
        Unreadable: it is damaged, too large, or no image.
        OSError: there is no such file.
    """
    with _DECODING:
        return _packed(decode.decode(path.read_bytes(), edit).pixels, "PNG")


def _packed(pixels: Image.Image, kind: Kind) -> bytes:
    out = io.BytesIO()
    pixels.save(out, format=kind, quality=_QUALITY)
    return out.getvalue()
