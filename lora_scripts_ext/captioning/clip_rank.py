"""The best of the user's own words for each image, ranked by CLIP (arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..captions.fields import NAMES, Fields
from ..captions.text_file import read_text
from ..errors import UserError
from . import models
from .base import CaptionerOptions, CaptionInput

USUAL = "openai/clip-vit-base-patch32"
_ATTRIBUTES = 3
# An attribute must be this much likelier than if all words of its list were as good as another.
_BETTER_THAN_CHANCE = 1.5


class ClipRank:
    """Subject, scene and style get the best word of their list, attributes the best few."""

    name = "clip"
    looks = True
    batch = 8

    def __init__(self, options: CaptionerOptions) -> None:
        """Read the words and load the model.

        Raises:
            UserError: no words are named, or the model is not on this machine.
        """
        if options.words is None:
            raise UserError(
                "The captioner clip chooses among your own words, and is given none; write them one a line, under "
                "headings such as [subject], [attributes], [scene], [style] (in a text file that --words names)."
            )
        self._words = read_words(options.words)
        source = options.model or USUAL
        self._device = models.device(options)
        self._model = models.placed(models.load("CLIPModel", source, options), self._device)
        self._processor = models.load("CLIPProcessor", source, options)

    @torch.no_grad()
    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """The words that fit each image best."""
        pixels = [one.image for one in images]
        ranked = {field: self._likelihoods(pixels, words) for field, words in self._words.items()}
        return [self._fields({field: table[row] for field, table in ranked.items()}) for row in range(len(images))]

    def close(self) -> None:
        """Let go of the model."""
        del self._model, self._processor
        models.free(self._device)

    def _likelihoods(self, pixels: Sequence[object], words: Sequence[str]) -> Tensor:
        """[images, words], each row adds up to 1."""
        return likelihoods(self._model, self._processor, pixels, [f"a photo of {word}" for word in words])

    def _fields(self, ranked: Mapping[str, Tensor]) -> Fields:
        best = {field: self._words[field][int(row.argmax())] for field, row in ranked.items() if field != "attributes"}
        attributes: tuple[str, ...] = ()
        if "attributes" in ranked:
            row, words = ranked["attributes"], self._words["attributes"]
            order = row.argsort(descending=True)[:_ATTRIBUTES].tolist()
            attributes = tuple(words[index] for index in order if row[index] > _BETTER_THAN_CHANCE / len(words))
        return Fields(attributes=attributes, **best)


def likelihoods(model: Any, processor: Any, pixels: Sequence[object], phrases: Sequence[str]) -> Tensor:
    """How well each phrase fits each image: [images, phrases], each row adds up to 1."""
    processed = processor(text=list(phrases), images=list(pixels), return_tensors="pt", padding=True, truncation=True)
    return model(**models.inputs(processed, model)).logits_per_image.float().softmax(dim=-1).cpu()


def read_words(path: Path) -> dict[str, tuple[str, ...]]:
    """The word lists of a text file: one word or phrase a line, under ``[subject]``, ``[attributes]``, ``[scene]`` or
    ``[style]``; what stands before any heading are attributes. Lines that begin with ``#`` are ignored.

    Raises:
        UserError: it cannot be read, a heading is unknown, or it holds no word.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"words: {path} cannot be read ({error}); name a text file with a word a line.") from error
    phrases_by_field: dict[str, list[str]] = {}
    field = "attributes"
    for number, line in enumerate((line.strip() for line in lines), 1):
        if line.startswith("[") and line.endswith("]"):
            field = line[1:-1].strip().casefold()
            if field not in NAMES:
                raise UserError(f"words: {path} line {number}: {line} is no field; take one of {', '.join(NAMES)}.")
        elif line and not line.startswith("#"):
            phrases_by_field.setdefault(field, []).append(line)
    if not phrases_by_field:
        raise UserError(f"words: {path} holds no word; write one a line.")
    return {field: tuple(dict.fromkeys(phrases)) for field, phrases in phrases_by_field.items()}
