"""A folder of images captioned: what has none gets one, what a person wrote stays."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from ..captions import fields as captions
from ..captions.caption import with_trigger
from ..captions.fields import TEMPLATE
from ..captions.store import CaptionStore, Entry
from ..images import decode, edited
from ..images.edit import UNEDITED
from ..images.skipped import Skipped
from ..parallel import Check, Progress, ahead
from .base import Captioner, CaptionInput

Overwrite = Literal["none", "ours", "all"]
# What captioners look at is 224 to 768 pixels wide.
_SIDE = 1024
_SAVE_SECONDS = 10


@dataclass(frozen=True)
class Labelled:
    """What became of a folder: images captioned, images whose caption stayed, images that cannot be read."""

    written: int
    kept: int
    skipped: list[Skipped]


def label(
    folder: Path,
    store: CaptionStore,
    captioner: Captioner,
    *,
    template: str = TEMPLATE,
    trigger: str = "",
    overwrite: Overwrite = "none",
    progress: Progress = lambda done, total, what: None,
    check: Check = lambda: None,
) -> Labelled:
    """Caption the images of ``folder`` that have no caption yet, into ``store``.

    The captions are saved every few seconds and on every way out: after a run that ended early, call this again to
    continue. An image of which the captioner knows nothing stays without.

    Args:
        folder: of the images.
        store: opened on it.
        captioner: as ``choose.make`` gives it; not closed here.
        template: how the fields become a prompt.
        trigger: a word to put in front of every prompt.
        overwrite: ``none`` keeps every caption, ``ours`` replaces what a captioner wrote, ``all`` also what people did.
        progress: called with done, total and "captions".
        check: called between images; what it raises ends the work.

    Raises:
        UserError: the template is wrong, or the captioner cannot go on.
    """
    captions.check(template)
    pending = [name for name in store.names if _wants(store.entry(name), overwrite)]
    written, saved = 0, time.monotonic()
    skipped: list[Skipped] = []
    progress(0, len(pending), "captions")
    try:
        for done, batch in _batches(_images(folder, pending, captioner), captioner.batch, skipped):
            check()
            for image, fields in zip(batch, captioner.caption(batch), strict=True):
                prompt = captions.join(fields, template)
                if prompt:
                    store.put(image.name, with_trigger(prompt, trigger), fields, captioner.name)
                    written += 1
            progress(done, len(pending), "captions")
            if time.monotonic() - saved > _SAVE_SECONDS:
                store.save()
                saved = time.monotonic()
    finally:
        store.save()
    return Labelled(written, len(store.names) - len(pending), skipped)


def _wants(entry: Entry, overwrite: Overwrite) -> bool:
    if entry.edited:
        return overwrite == "all"
    return not entry.prompt or overwrite != "none"


def _images(folder: Path, names: Iterable[str], captioner: Captioner) -> Iterator[CaptionInput | Skipped]:
    """The edited images, decoded ahead where the captioner looks at them."""
    edits = edited.read(folder)

    def load(name: str) -> CaptionInput | Skipped:
        try:
            return CaptionInput(name, decode.small(folder / name, _SIDE, edits.get(name, UNEDITED)))
        except decode.Unreadable as error:
            return Skipped(name, str(error))

    return ahead(load, names) if captioner.looks else map(CaptionInput, names)


def _batches(
    images: Iterator[CaptionInput | Skipped], size: int, skipped: list[Skipped]
) -> Iterator[tuple[int, list[CaptionInput]]]:
    """How many images have been taken so far, and those of them that can be looked at, a batch at a time."""
    done = 0
    while chunk := list(islice(images, size)):
        done += len(chunk)
        skipped += [one for one in chunk if isinstance(one, Skipped)]
        batch = [one for one in chunk if isinstance(one, CaptionInput)]
        if batch:
            yield done, batch
