"""What was found of a LoRA, in figures."""

from __future__ import annotations

from dataclasses import dataclass

# Between healthy LoRAs and others of the pocket model (benchmarks/RESULTS.md).
_RECALLED, _GAP, _OUTLINES = 0.8, 0.43, 0.25


@dataclass(frozen=True)
class Findings:
    """Figures of a LoRA at strength 1; NaN where there was nothing to measure it on.

    Attributes:
        recall: how much the images of training captions are their own training images: 0 nothing, 1 exactly.
        unseen_recall: the same of held-out images, which show whether what was learned holds for others, too.
        nearest: how near to a training image the captions of held-out images are drawn: 1 is as near as the training
            images are to each other, 0 a copy.
        variety: how different captions' images are, in terms of the training images.
        outlines: how much of the base model's outlines of the same prompts, with the trigger word and without, is left:
            0 none, 1 all.
        pull: how much a caption moves the prediction on pure noise, in terms of the base model.
        alignment: cosine of that with the unconditional prediction, at little noise.
        leak: how much of the LoRA's effect remains without its trigger word: 0 none, 1 all. A figure only: from where
            on it is too much has not been measured.
    """

    recall: float
    unseen_recall: float
    nearest: float
    variety: float
    outlines: float
    pull: float
    alignment: float
    leak: float

    @property
    def copies(self) -> bool:
        """Whether it has learned its training images by heart: they are drawn almost as they are, others are not."""
        return self.recall >= _RECALLED and self.recall - self.unseen_recall >= _GAP

    @property
    def falls_apart(self) -> bool:
        """Whether hardly anything is left of the shapes that the base model draws of the same prompts."""
        return self.outlines < _OUTLINES

    def warning(self, name: str) -> str:
        """What to look at before the checkpoint ``name`` is used, as a sentence; empty if nothing was noticed."""
        if self.copies:
            return (
                f"Training images are drawn almost as they are by {name}, other images are not: it has learned them "
                "by heart; take an earlier checkpoint, or train again with more images or fewer epochs."
            )
        if self.falls_apart:
            return (
                f"Hardly anything of the shapes that the model draws without a LoRA is left in what {name} draws of "
                "the same prompts; look at its images, and if objects have dissolved, take an earlier checkpoint or a "
                "lower learning rate."
            )
        return ""
