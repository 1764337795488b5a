"""What was found of a LoRA, in figures and in sentences for who trained it."""

from __future__ import annotations

from dataclasses import dataclass

from .suggestion import Finding

# From the pocket model's LoRAs, see benchmarks/RESULTS.md.
_COPIES = 0.6
_DISSOLVED = 0.25
_LEAKS = 0.7


@dataclass(frozen=True)
class Findings:
    """Figures of a LoRA at strength 1; NaN where there was nothing to measure it on.

    Attributes:
        recall: how much of its own training image a caption draws: 0 nothing, 1 the image itself.
        nearest: how near to a training image unseen prompts are drawn: 1 is as near as the training images are to each
            other, 0 a copy.
        variety: how different captions' images are, in terms of the training images.
        pull: how much a caption moves the prediction on pure noise, in terms of the base model.
        alignment: cosine of that with the unconditional prediction, at little noise.
        leak: how much of the LoRA's effect remains without its trigger word: 0 none, 1 all.
    """

    recall: float
    base_recall: float
    agreement: float
    unseen_agreement: float
    nearest: float
    variety: float
    pull: float
    alignment: float
    leak: float

    @property
    def copies(self) -> bool:
        """Whether it draws its training images again."""
        return self.recall >= _COPIES

    @property
    def falls_apart(self) -> bool:
        """Whether what it draws shows nothing any more."""
        return self.agreement < _DISSOLVED and not self.copies

    @property
    def leaks(self) -> bool:
        """Whether prompts without the trigger word change nearly as much as those with it."""
        return self.leak >= _LEAKS

    @property
    def names(self) -> tuple[Finding, ...]:
        """As ``suggestion.Point`` takes them."""
        found: list[Finding] = ["copies"] if self.copies else []
        return (*found, "falls apart") if self.falls_apart else tuple(found)

    def sentences(self) -> list[str]:
        """What to tell who trained it, and what to do; none where nothing was found."""
        said = []
        if self.copies:
            said.append(
                "The LoRA draws its training images again instead of new ones; use an earlier checkpoint, or train "
                "again with more images, fewer epochs or a lower rank."
            )
        if self.falls_apart:
            said.append(
                "What the LoRA draws is falling apart: the base model recognises next to nothing in it; use an earlier "
                "checkpoint or a lower strength, or train again with a lower learning rate."
            )
        if self.leaks:
            said.append(
                "The LoRA changes prompts without its trigger word nearly as much as those with it; train again with "
                "regularisation images, or with fewer epochs."
            )
        return said
