"""What a set as a whole lacks, and which settings suit it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ..captions.caption import parts
from .measure import Measures

_FEW, _MANY = 15, 500
# Visits after which a look has usually been learnt, and after which it is usually learnt by heart.
_VISITS = 2000
_EPOCHS = 10
_LEAST_EPOCHS = 4
_RANKS = ((30, 8), (150, 16))
_LARGE_RANK = 32
# Shares of a set.
_MOST_OF_IT = 0.8
_SOME_OF_IT = 0.2
_MOST_CLASSES = 10
# Bits of 64 by which the hashes of two images differ on average: about 20 for different scenes, 8 for different
# things on white, below 1 for one thing turned a little.
_SIMILAR_BITS = 4
_COLOUR_STEP = 64
_SHARE_WITH_EDGE = 0.8
_MARK_CELLS = 25
_FEWEST_FOR_A_MARK = 8
# Where shops put their marks: the outer quarter of an image.
_MARGIN = 16


@dataclass(frozen=True)
class Settings:
    """What to train with: ``repeats`` and ``epochs`` give about 2,000 visits."""

    repeats: int
    epochs: int
    rank: int


def settings(count: int) -> Settings:
    """Repeats, epochs and rank for so many images: small datasets get more repeats and a smaller LoRA."""
    repeats = max(1, round(_VISITS / (max(count, 1) * _EPOCHS)))
    epochs = max(_LEAST_EPOCHS, min(_EPOCHS, math.ceil(_VISITS / (max(count, 1) * repeats))))
    rank = next((rank for most, rank in _RANKS if count < most), _LARGE_RANK)
    return Settings(repeats, epochs, rank)


def of_set(measured: Mapping[str, Measures], captions: Mapping[str, str], trigger: str) -> list[str]:
    """Sentences on the images that are left, by name."""
    sentences = _on_count(len(measured))
    if len(measured) > 1:
        sentences += [*_on_diversity(list(measured.values())), *_on_backgrounds(list(measured.values()))]
        sentences += [*_on_balance(list(measured), captions, trigger), *_on_marks(list(measured.values()))]
    return sentences + _on_captions({name: captions.get(name, "") for name in measured}, trigger)


def _on_count(count: int) -> list[str]:
    if count < _FEW:
        return [f"{count} images are few; with 30 to 100 different ones the model learns the look, not the images."]
    if count > _MANY:
        return [f"{count} images take long; 50 to 200 of the best teach the same."]
    return []


def _on_diversity(measured: Sequence[Measures]) -> list[str]:
    bits = np.array([[one.hash >> bit & 1 for bit in range(64)] for one in measured], dtype=np.float64)
    share = bits.mean(axis=0)
    # The mean over all pairs, without making them.
    differing = 2 * (share * (1 - share)).sum() * len(measured) / (len(measured) - 1)
    if differing < _SIMILAR_BITS:
        return ["The images are much alike; add other angles and distances."]
    return []


def _on_backgrounds(measured: Sequence[Measures]) -> list[str]:
    colours = Counter(tuple(channel // _COLOUR_STEP for channel in one.border) for one in measured)
    colour, most = colours.most_common(1)[0]
    if most < _MOST_OF_IT * len(measured):
        return []
    if min(colour) == 255 // _COLOUR_STEP:
        return ["Nearly all backgrounds are white: good for shop images, but scenes will be hard to ask for."]
    return ["Nearly all backgrounds have one colour; it will be learnt as part of the look."]


def _on_balance(names: Sequence[str], captions: Mapping[str, str], trigger: str) -> list[str]:
    """By folder or, where all lie in one, by what the captions say first: the subject."""
    folders = Counter(PurePosixPath(name).parts[0] for name in names if "/" in name)
    if len(folders) > 1:
        return [
            f"{largest} has {most} images, {smallest} {least}; show the smaller folder more often "
            f"(name it 5_{smallest})."
            for (largest, most), (smallest, least) in _uneven(folders)
        ]
    subjects = Counter(filter(None, (_subject(captions.get(name, ""), trigger) for name in names)))
    # Where nearly every image has a subject of its own there are no classes.
    if len(subjects) > _MOST_CLASSES:
        return []
    return [
        f"{most} captions begin with {largest}, {least} with {smallest}; add images of the rarer one, or exclude "
        "some of the other."
        for (largest, most), (smallest, least) in _uneven(subjects)
    ]


def _uneven(classes: Counter[str]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """The largest and the smallest class with their counts, where that is far less; else nothing."""
    ranked = classes.most_common()
    return [(ranked[0], ranked[-1])] if ranked and ranked[-1][1] < _SOME_OF_IT * ranked[0][1] else []


def _subject(caption: str, trigger: str) -> str:
    """The first part of a caption that is not of the trigger."""
    unwanted = [part.casefold() for part in parts(trigger)]
    return next((part for part in parts(caption) if part.casefold() not in unwanted), "")


def _on_marks(measured: Sequence[Measures]) -> list[str]:
    if len(measured) < _FEWEST_FOR_A_MARK:
        return []
    shares = np.mean([one.edges for one in measured], axis=0)
    shares[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = 0
    if (shares > _SHARE_WITH_EDGE).sum() < _MARK_CELLS:
        return []
    return [
        "The same text, logo or frame seems to be at the same place in most images; it would be learnt, cut it off."
    ]


def _on_captions(captions: Mapping[str, str], trigger: str) -> list[str]:
    written = [text for text in captions.values() if text]
    sentences = []
    if len(written) < len(captions):
        missing = len(captions) - len(written)
        sentences.append(f"{missing} of {len(captions)} images have no caption; caption them first.")
    if len(written) > 1 and len(set(written)) == 1:
        sentences.append("All captions are the same; describe what differs, so that prompts can name it.")
    named = sum(trigger.casefold() in map(str.casefold, parts(text)) for text in written) if trigger else 0
    if 0 < named < len(written):
        sentences.append(f"{named} of {len(written)} captions contain the trigger word {trigger}; it is added to all.")
    return sentences
