"""The contract of a captioner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from ..captions.fields import Fields


@dataclass(frozen=True)
class CaptionInput:
    """An image to caption.

    Attributes:
        name: relative to its folder, with forward slashes.
        pixels: RGB, scaled down to what captioners look at; None for one that only reads names.
    """

    name: str
    pixels: Image.Image | None = None

    @property
    def image(self) -> Image.Image:
        """The pixels, for a captioner that looks at them.

        Raises:
            ValueError: there are none.
        """
        if self.pixels is None:
            raise ValueError(f"{self.name} was not decoded")
        return self.pixels


@dataclass(frozen=True)
class CaptionerOptions:
    """Which captioner, and what it needs.

    Attributes:
        captioner: a name of ``choose.NAMES``.
        model: a folder, or a name on the hub; empty takes the captioner's usual one.
        device: ``auto``, or as torch calls it.
        words: a file with words to choose from, for ``clip``.
        endpoint: address of an OpenAI-compatible service, for ``endpoint``; nothing is sent anywhere without it.
        key_from: environment variable that holds the service's key.
        download: whether a model that is not on this machine may be fetched from the hub.
    """

    captioner: str = "auto"
    model: str = ""
    device: str = "auto"
    words: Path | None = None
    endpoint: str = ""
    key_from: str = ""
    download: bool = False


class Captioner(Protocol):
    """Says what images show.

    Attributes:
        name: who wrote a caption, as the caption store keeps it.
        looks: whether it needs the pixels.
        batch: images that it takes together.
    """

    name: str
    looks: bool
    batch: int

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """The fields of each image."""

    def close(self) -> None:
        """Let go of models and of the device."""
