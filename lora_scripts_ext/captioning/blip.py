"""A sentence on the whole image, by BLIP (arXiv 2201.12086)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..captions.fields import Fields
from . import models
from .base import CaptionerOptions, CaptionInput

USUAL = "Salesforce/blip-image-captioning-base"
_TOKENS = 40
# BLIP opens with words that say nothing of the product.
_OPENINGS = ("there is ", "there are ", "a photo of ", "a picture of ", "an image of ", "arafed ", "araffe ")


class Blip:
    """The sentence becomes the subject."""

    name = "blip"
    looks = True
    batch = 4

    def __init__(self, options: CaptionerOptions) -> None:
        """Load the model.

        Raises:
            UserError: it is not on this machine.
        """
        source = options.model or USUAL
        self._device = models.device(options)
        self._model = models.placed(models.load("BlipForConditionalGeneration", source, options), self._device)
        self._processor = models.load("BlipProcessor", source, options)

    @torch.no_grad()
    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """One sentence per image, without its opening phrase; the same image always gets the same one."""
        processed = self._processor(images=[one.image for one in images], return_tensors="pt")
        tokens = self._model.generate(
            **models.inputs(processed, self._model), max_new_tokens=_TOKENS, num_beams=3, do_sample=False
        )
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [Fields(subject=without_opening(text)) for text in texts]

    def close(self) -> None:
        """Let go of the model."""
        del self._model, self._processor
        models.free(self._device)


def without_opening(text: str) -> str:
    """The sentence without the words that every one of them begins with."""
    text = text.strip().rstrip(".")
    for opening in _OPENINGS:
        if text.lower().startswith(opening):
            text = text[len(opening) :]
    return text
