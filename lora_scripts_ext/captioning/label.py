"""A folder of images captioned: what has none gets one, what a person wrote stays."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..captions import fields as captions
from ..captions.caption import with_trigger
from ..captions.fields import TEMPLATE
from ..captions.store import CaptionStore, Entry
from ..images.skipped import Skipped
from ..parallel import Check, Progress
from .base import Captioner
from .reading import batches, images

Overwrite = Literal["none", "ours", "all"]
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
        for done, batch in batches(images(folder, pending, captioner.looks), captioner.batch, skipped):
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
