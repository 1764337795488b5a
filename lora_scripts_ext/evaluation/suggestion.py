"""Which checkpoint of a run to use, at which strength, and why, in a sentence for who trained it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Finding = Literal["copies", "falls apart"]

# Checkpoints whose loss on held-out images is so little above the lowest are taken as equally good.
_EQUAL = 0.01
_FINDINGS = {"copies": "copy training images", "falls apart": "draw worse"}


@dataclass(frozen=True)
class Point:
    """What is known of a checkpoint at a strength.

    Attributes:
        checkpoint: its file.
        step: after which it was written.
        epoch: likewise; None where it was written between two.
        losses: its loss on each held-out image, all with the noise and timesteps of every other point.
        strength: of the LoRA.
        findings: what else was noticed of it.
    """

    checkpoint: str
    step: int
    losses: tuple[float, ...]
    epoch: int | None = None
    strength: float = 1.0
    findings: tuple[Finding, ...] = ()

    @property
    def loss(self) -> float:
        """The mean over the held-out images."""
        return math.fsum(self.losses) / len(self.losses)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"step {self.step}" if self.epoch is None else f"epoch {self.epoch}"


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
