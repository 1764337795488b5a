"""What was found of a LoRA, in figures and in sentences for who trained it."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Between the pocket model's LoRAs that do it and those that do not, see benchmarks/RESULTS.md.
_RECALL_GAP = 0.27
_RECALL_ALONE = 0.57


@dataclass(frozen=True)
class Findings:
    """Figures of a LoRA at strength 1; NaN where there was nothing to measure it on.

    Of one that falls apart both recalls are low, but so are they where captions do not say how an image is composed:
    that is for people to see.

    Attributes:
        recall: how much the images of training captions are their own training images: 0 nothing, 1 exactly.
        unseen_recall: the same of held-out images, which show whether what was learned holds for others, too.
        nearest: how near to a training image the captions of held-out images are drawn: 1 is as near as the training
            images are to each other, 0 a copy.
        variety: how different captions' images are, in terms of the training images.
        pull: how much a caption moves the prediction on pure noise, in terms of the base model.
        alignment: cosine of that with the unconditional prediction, at little noise.
        leak: how much of the LoRA's effect remains without its trigger word: 0 none, 1 all. A figure only: from where
            on it is too much has not been measured.
    """

    recall: float
    unseen_recall: float
    nearest: float
    variety: float
    pull: float
    alignment: float
    leak: float

    @property
    def copies(self) -> bool:
        """Whether it draws its training images much better than others; without held-out images, whether well."""
        if math.isnan(self.unseen_recall):
            return self.recall >= _RECALL_ALONE
        return self.recall - self.unseen_recall >= _RECALL_GAP

    def sentences(self) -> list[str]:
        """What to tell who trained it, and what to do; none where nothing was found."""
        if not self.copies:
            return []
        return [
            "The LoRA draws its training images much better than anything else; use an earlier checkpoint, or train "
            "again with more images, fewer epochs or a lower rank."
        ]
