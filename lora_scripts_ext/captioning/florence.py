"""A caption with details, by Florence-2 (arXiv 2311.06242), where transformers has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..captions.fields import Fields
from . import models
from .base import CaptionerOptions, CaptionInput
from .blip import without_opening

USUAL = "florence-community/Florence-2-base"
_TASK = "<CAPTION>"
_TOKENS = 96


class Florence:
    """The caption becomes the subject."""

    name = "florence"
    looks = True
    batch = 2

    def __init__(self, options: CaptionerOptions) -> None:
        """Load the model.

        Raises:
            UserError: transformers does not have it, or it is not on this machine.
        """
        source = options.model or USUAL
        self._device = models.device(options)
        self._model = models.placed(models.load("Florence2ForConditionalGeneration", source, options), self._device)
        self._processor = models.load("AutoProcessor", source, options)

    @torch.no_grad()
    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """One caption an image."""
        pixels = [one.image for one in images]
        processed = self._processor(text=[_TASK] * len(pixels), images=pixels, return_tensors="pt")
        tokens = self._model.generate(
            **models.inputs(processed, self._model), max_new_tokens=_TOKENS, num_beams=3, do_sample=False
        )
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [Fields(subject=without_opening(text)) for text in texts]

    def close(self) -> None:
        """Let go of the model."""
        del self._model, self._processor
        models.free(self._device)
