"""The file formats that marks are written into, one module each."""

from __future__ import annotations

from typing import Literal, Protocol

from PIL import Image

from . import jpeg, png, webp

Format = Literal["PNG", "JPEG", "WEBP"]


class FileFormat(Protocol):
    """A module for one format.

    Attributes:
        MIME: its media type.
        QUALITY: whether its quality can be chosen, from 1 to 100; else it is lossless.
    """

    MIME: str
    QUALITY: bool

    def encoded(self, image: Image.Image, packet: bytes, parameters: str, quality: int, profile: bytes) -> bytes:
        """The file of an image, RGB or RGBA as the format allows, with these marks and this colour profile."""

    def packets(self, content: bytes) -> list[bytes]:
        """Every XMP packet of a file."""

    def parameters(self, content: bytes) -> str:
        """The generation parameters of a file; empty where it has none."""


FORMATS: dict[Format, FileFormat] = {"PNG": png, "JPEG": jpeg, "WEBP": webp}
EXTENSIONS: dict[Format, str] = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
#: what can hold transparency
TRANSPARENT: tuple[Format, ...] = ("PNG", "WEBP")


def of_content(head: bytes) -> Format | None:
    """The format of a file that begins with ``head``; None for another one."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None
