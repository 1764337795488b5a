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
    """

    checkpoint: str
    step: int
    loss: float
    epoch: int | None = None
    strength: float = 1.0

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
        warns: whether the reason is one not to use any of the checkpoints without a look at it.
    """

    checkpoint: str
    strength: float
    reason: str
    warns: bool = False


def suggest(points: Sequence[Point], base: float) -> Suggestion | None:
    """The checkpoint with the lowest loss on held-out images, at the strength with the lowest.

    Losses at strengths other than 1 only count for the choice of the strength: they may be there for one checkpoint and
    missing for the rest.

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
    chosen = min(full, key=lambda point: point.loss)
    strengths = [point for point in points if point.checkpoint == chosen.checkpoint]
    best = min(strengths, key=lambda point: (point.loss, point.strength != 1))
    worse = best.loss >= base
    reason = _warning(best) if worse else _reason(best, full)
    return Suggestion(best.checkpoint, best.strength, reason, warns=worse)


def _warning(best: Point) -> str:
    return (
        f"No checkpoint predicts images that were not trained on better than the model without a LoRA, {best.name} "
        "comes closest; look at its images before you use it, or train again with more images or a lower learning "
        "rate."
    )


def _reason(best: Point, full: Sequence[Point]) -> str:
    start = f"Images that were not trained on are predicted best by {best.name}"
    if best.step == max(point.step for point in full):
        return f"{start}, the last one."
    return f"{start}; later ones only get better on the training images."
