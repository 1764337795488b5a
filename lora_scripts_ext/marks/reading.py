"""What a file says of its making."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from . import aigc, iptc, xmp
from .formats import FORMATS, of_content

_DAMAGED = (OSError, SyntaxError, ValueError, struct.error)


@dataclass(frozen=True)
class Found:
    """The marks in a file.

    Attributes:
        sources: IPTC's digital source types, as terms of its vocabulary.
        aigc: the fields of the label of GB 45438-2025; None without one, or where it is no JSON.
        labels: how many such labels there are: one, in a file that keeps to the standard.
        parameters: the generation parameters; empty where there are none.
    """

    sources: tuple[str, ...]
    aigc: dict[str, str] | None
    labels: int
    parameters: str


def read(path: Path) -> Found:
    """The marks in a PNG, JPEG or WebP.

    Raises:
        UserError: the file cannot be read, or is in another format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the image cannot be read ({error.strerror}); check the path.") from error
    format = of_content(content)
    if format is None:
        raise UserError(f"{path}: this is no PNG, JPEG or WebP; convert it to one of these.")
    form = FORMATS[format]
    try:
        packets, parameters = form.packets(content), form.parameters(content)
    except _DAMAGED as error:
        raise UserError(f"{path}: the image is damaged ({error}); write it again.") from error
    sources = [one for packet in packets for one in xmp.values(packet, iptc.NAMESPACE, iptc.PROPERTY)]
    labels = [one for packet in packets for one in xmp.values(packet, aigc.NAMESPACE, aigc.PROPERTY)]
    return Found(
        sources=tuple(map(iptc.name, sources)),
        aigc=next((fields for one in labels if (fields := aigc.fields(one)) is not None), None),
        labels=len(labels),
        parameters=parameters,
    )
