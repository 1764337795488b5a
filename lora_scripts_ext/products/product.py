"""A product of a shop: a row of its product list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import addresses

#: fields of a product that name a file
FILES = ("photo", "mask", "control", "reference")
#: fields of a product that a column of a list can be; every other column is one of its attributes
FIELDS = ("sku", "title", "category", "description", "tags", *FILES, "prompt", "negative")


@dataclass(frozen=True)
class Product:
    """What a product list says of one product; what it does not say is empty.

    Attributes:
        tags: each trimmed.
        attributes: every other column, by its header.
        photo: path of the photo of the product itself, as it is written in the list.
        mask: path of its mask, white where the product is.
        control: path of an image for ControlNet.
        reference: path of an image for an IP-Adapter.
        prompt: a prompt of its own, which takes the place of the one that would be composed.
        negative: likewise, for the negative prompt.
        row: of the list, as a spreadsheet counts: the header is row 1.
    """

    sku: str
    title: str = ""
    category: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    photo: str = ""
    mask: str = ""
    control: str = ""
    reference: str = ""
    prompt: str = ""
    negative: str = ""
    row: int = 0


def located(written: str, folder: Path) -> str:
    """The path of a file that a list in ``folder`` names, or its address on the web; it is not looked for."""
    return written if addresses.is_address(written) else str(folder / written.replace("\\", "/"))
