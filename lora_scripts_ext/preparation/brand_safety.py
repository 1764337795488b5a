"""What a brand would not want to be learned: words of captions and file names, logos and text in images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..captioning.reading import batches, images
from ..images.skipped import Skipped
from ..parallel import Check, Progress
from ..products.safety import WordList
from .verdict import Reason

if TYPE_CHECKING:
    from ..captioning.logos import LogoDetector

_WHAT = "logos"


@dataclass
class Found:
    """What was found.

    Attributes:
        reasons: by the name of the image.
        unclear: images of which nobody could say whether they show a logo.
    """

    reasons: dict[str, list[Reason]] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)

    def add(self, name: str, reason: Reason) -> None:
        """Note a finding on an image."""
        self.reasons.setdefault(name, []).append(reason)


def of_words(words: WordList, names: Sequence[str], captions: Mapping[str, str], found: Found) -> None:
    """Note the words of the list in captions and in the names of files and their folders."""
    for name in names:
        for what, text in (("caption", captions.get(name, "")), ("file name", str(Path(name).with_suffix("")))):
            forbidden, competitors = words.found(text)
            for word in forbidden:
                found.add(name, Reason("forbidden_word", "doubtful", f"its {what} has the forbidden word {word!r}"))
            for word in competitors:
                said = f"its {what} names {word!r}, which the word list has as a competitor"
                found.add(name, Reason("competitor", "doubtful", said))


def of_logos(
    detector: LogoDetector, folder: Path, names: Sequence[str], progress: Progress, check: Check, found: Found
) -> None:
    """Note the images that show a logo, a watermark or text.

    Raises:
        UserError: the service cannot be reached.
    """
    progress(0, len(names), _WHAT)
    unreadable: list[Skipped] = []
    for done, batch in batches(images(folder, names), detector.batch, unreadable):
        check()
        for one, visible in zip(batch, detector.visible(batch), strict=True):
            if visible is None:
                found.unclear.append(one.name)
            elif visible:
                text = "seems to show a logo, a watermark or text; the model may learn that, too"
                found.add(one.name, Reason("logo", "doubtful", text))
        progress(done, len(names), _WHAT)
