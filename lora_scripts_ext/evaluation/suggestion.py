"""Which checkpoint of a run to use, at which strength, and why, in a sentence for who trained it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """What is known of a checkpoint at a strength.

    Attributes:
        checkpoint: its file.
        step: after which it was written.
        epoch: likewise; None where it was written between two.
        loss: its mean loss on the held-out images, with the noise and timesteps of every other point.
        strength: of the LoRA.
        copies: whether it draws its training images again.
    """

    checkpoint: str
    step: int
    loss: float
    epoch: int | None = None
    strength: float = 1.0
    copies: bool = False

    @property
    def name(self) -> str:
        """What a person calls it."""
        name = f"step {self.step}" if self.epoch is None else f"epoch {self.epoch}"
        return name if self.strength == 1 else f"{name} at strength {self.strength:g}"


@dataclass(frozen=True)
class Suggestion:
    """What to use.

    Attributes:
        checkpoint: a file.
        strength: of the LoRA in it.
        reason: one sentence.
        warns: the reason is one not to use any of the checkpoints without a look at it.
    """

    checkpoint: str
    strength: float
    reason: str
    warns: bool = False


def suggest(points: Sequence[Point], base: float) -> Suggestion | None:
    """The checkpoint with the lowest loss on held-out images, at the strength with the lowest.

    Checkpoints that copy training images are left out where there are others. Losses at strengths other than 1
    only count for the choice of the strength: they may be there for one checkpoint and missing for the rest.

    Args:
        points: in the order of training; the checkpoint is chosen from those at strength 1.
        base: the mean loss of the model without a LoRA on the held-out images.

    Returns:
        None where there is no point at strength 1 whose loss is a number.
    """
    points = [point for point in points if math.isfinite(point.loss)]
    full = [point for point in points if point.strength == 1]
    if not full:
        return None
    sound = [point for point in full if not point.copies]
    chosen = min(sound or full, key=lambda point: point.loss)
    strengths = [point for point in points if point.checkpoint == chosen.checkpoint]
    best = min(strengths, key=lambda point: (point.loss, point.strength != 1))
    worse = best.loss >= base
    reason = _warning(best, worse) if worse or not sound else _reason(best, full, sound)
    return Suggestion(best.checkpoint, best.strength, reason, warns=worse or not sound)


def _warning(best: Point, worse: bool) -> str:
    if worse:
        return (
            f"No checkpoint predicts images that were not trained on better than the model without a LoRA, {best.name} "
            "comes closest; look at its images before you use it, or train again with more images or a lower learning "
            "rate."
        )
    return (
        f"All checkpoints copy training images, {best.name} still predicts images that were not trained on "
        "best; look at its images before you use it."
    )


def _reason(best: Point, full: Sequence[Point], sound: Sequence[Point]) -> str:
    start = f"Images that were not trained on are predicted best by {best.name}"
    if min(full, key=lambda point: point.loss).copies:
        return f"{start} of the checkpoints that do not copy training images."
    if best.step == max(point.step for point in sound):
        return f"{start}, the last one."
    return f"{start}; later ones only get better on the training images."
