"""The images of a folder, as captioners look at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ..images import decode, edited
from ..images.edit import UNEDITED
from ..images.skipped import Skipped
from ..parallel import ahead
from .base import CaptionInput

# What captioners look at is 224 to 768 pixels wide.
_SIDE = 1024


def images(folder: Path, names: Iterable[str], looks: bool = True) -> Iterator[CaptionInput | Skipped]:
    """The edited images, decoded ahead where the captioner ``looks`` at them."""
    edits = edited.read(folder)

    def load(name: str) -> CaptionInput | Skipped:
        try:
            return CaptionInput(name, decode.small(folder / name, _SIDE, edits.get(name, UNEDITED)))
        except decode.Unreadable as error:
            return Skipped(name, str(error))

    return ahead(load, names) if looks else map(CaptionInput, names)


def batches(
    images: Iterator[CaptionInput | Skipped], size: int, skipped: list[Skipped]
) -> Iterator[tuple[int, list[CaptionInput]]]:
    """How many images have been taken so far, and those of them that can be looked at, a batch at a time.

    Those that cannot are added to ``skipped``.
    """
    done = 0
    while chunk := list(islice(images, size)):
        done += len(chunk)
        skipped += [one for one in chunk if isinstance(one, Skipped)]
        batch = [one for one in chunk if isinstance(one, CaptionInput)]
        if batch:
            yield done, batch
