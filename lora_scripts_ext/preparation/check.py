"""What a folder holds as training would read it: the quality report with captions, repeats and what is skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..captions.store import CaptionStore
from ..dataset.source import folder_meaning
from ..errors import UserError
from ..images import excluded
from ..images.bucket import check_side
from ..images.folder import no_images
from ..images.skipped import Skipped
from ..models.tokenizer import Tokenizer
from ..parallel import Check, Progress
from ..products.safety import WordList
from . import brand_safety
from .report import Report, report

if TYPE_CHECKING:
    from ..captioning.logos import LogoDetector


def check(
    folder: Path,
    metadata: Path | None,
    resolution: int,
    trigger: str,
    progress: Progress,
    stop: Check = lambda: None,
    *,
    encoding: str = "",
    words: WordList | None = None,
    logos: LogoDetector | None = None,
) -> Report:
    """The report on a folder as training would read it, without excluded images; ``stop`` as in ``report``.

    With ``words`` it warns of them in captions and file names, with ``logos`` of images that show one.

    Raises:
        UserError: the folder is missing or empty, a file of captions is missing or damaged, the resolution is absurd,
            the service that looks for logos cannot be reached.
    """
    check_side(resolution)
    if metadata is not None and not metadata.is_file():
        raise UserError(f"metadata: there is no file {metadata}; check the path, or leave it empty.")
    store = CaptionStore.open(folder, metadata, encoding, key="input")
    unwanted = excluded.read(folder)
    names = [name for name in store.names if name not in unwanted]
    if not names:
        raise no_images(
            "input", folder, [*store.skipped, *(Skipped(name, "is excluded by hand") for name in store.names)]
        )
    tokenizer = Tokenizer.shipped()
    captions = {name: store.entry(name).prompt or folder_meaning(folder, name)[1] for name in names}
    result = report(
        folder,
        names,
        resolution=resolution,
        captions=captions,
        count_tokens=tokenizer.count,
        longest=tokenizer.room,
        trigger=trigger,
        progress=progress,
        check=stop,
    )
    found = brand_safety.Found()
    if words is not None:
        brand_safety.of_words(words, names, captions, found)
    if logos is not None:
        brand_safety.of_logos(logos, folder, names, progress, stop, found)
    return replace(
        result,
        verdicts=tuple(
            replace(one, reasons=(*one.reasons, *found.reasons.get(one.name, ()))) for one in result.verdicts
        ),
        skipped=tuple(store.skipped),
        without_caption=sum(not caption for caption in captions.values()),
        warnings=(*store.warnings, *_on_unclear(found.unclear)),
        advice=(*result.advice, *_on_repeats(folder, names)),
    )


def _on_repeats(folder: Path, names: Sequence[str]) -> list[str]:
    """A sentence where folders say by their names how often their images are shown."""
    counts = Counter(folder_meaning(folder, name, otherwise=0)[0] for name in names)
    own = sorted(repeats for repeats in counts if repeats)
    if not own:
        return []
    rest = f"; the {counts[0]} others take num_repeats" if counts[0] else "; num_repeats is not used"
    return [f"Folder names set the repeats of {len(names) - counts[0]} images ({', '.join(map(str, own))}){rest}."]


def _on_unclear(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} images were not checked for logos, as the service's answer was neither yes nor no."]


def bad(result: Report) -> set[str]:
    """The images that a click excludes."""
    return {one.name for one in result.verdicts if one.grade == "bad"}
