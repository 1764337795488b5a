"""What was found of a LoRA, in figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Findings:
    """Figures of a LoRA at strength 1; NaN where there was nothing to measure it on.

    One that copies recalls training images much better than held-out ones; of one that falls apart both recalls are
    low. From where on either is too much depends on brand and captions (benchmarks/RESULTS.md): nothing is decided by
    them.

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
