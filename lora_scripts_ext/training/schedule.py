"""The learning rate over a run."""

from __future__ import annotations

import math

from ..config import Config


def factor(config: Config, step: int, total_steps: int) -> float:
    """What the learning rate is multiplied with at ``step`` (0-based): warm-up, then the schedule; 0 to 1.

    The curves are those of diffusers' ``get_scheduler``; polynomial ends at zero.
    """
    warmup = config.lr_warmup_steps
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if config.lr_scheduler == "constant":
        return 1.0
    if config.lr_scheduler == "linear":
        return 1.0 - progress
    if config.lr_scheduler == "polynomial":
        return (1.0 - progress) ** config.lr_power
    if config.lr_scheduler == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if progress >= 1.0:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * ((progress * config.lr_cycles) % 1.0)))
