"""What kind of thing it is, by an image classifier such as the Vision Transformer (arXiv 2010.11929)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..captions.fields import Fields
from . import models
from .base import CaptionerOptions, CaptionInput

USUAL = "google/vit-base-patch16-224"


class Classify:
    """The likeliest class is the subject."""

    name = "vit"
    looks = True
    batch = 8

    def __init__(self, options: CaptionerOptions) -> None:
        """Load the model.

        Raises:
            UserError: it is not on this machine.
        """
        source = options.model or USUAL
        self._device = models.device(options)
        self._model = models.placed(models.load("AutoModelForImageClassification", source, options), self._device)
        self._processor = models.load("AutoImageProcessor", source, options)

    @torch.no_grad()
    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """The class of each image; of its synonyms, which ImageNet separates by commas, the first."""
        processed = self._processor(images=[one.image for one in images], return_tensors="pt")
        best = self._model(**models.inputs(processed, self._model)).logits.argmax(dim=-1)
        labels = self._model.config.id2label
        return [Fields(subject=labels[index].split(",")[0].strip()) for index in best.tolist()]

    def close(self) -> None:
        """Let go of the model."""
        del self._model, self._processor
        models.free(self._device)
