"""The learning rate over a run."""

from __future__ import annotations

import math

from ..config import Config

# Of a run that is shorter than its warm-up.
_WARMUP_SHARE = 0.1


def warmup_steps(config: Config, total_steps: int) -> int:
    """Steps of the warm-up; a tenth of the run where it would not end before the run does."""
    warmup = config.lr_warmup_steps
    steps = round(warmup * total_steps) if warmup < 1 else int(warmup)
    return steps if steps < total_steps else int(total_steps * _WARMUP_SHARE)


def warnings(config: Config, total_steps: int) -> list[str]:
    """Sentences on settings of the schedule that do not fit the run."""
    if config.lr_warmup_steps < max(1, total_steps):
        return []
    return [
        f"lr_warmup_steps is {config.lr_warmup_steps:g}, but the run has {total_steps} steps: the warm-up is reduced "
        f"to {warmup_steps(config, total_steps)}."
    ]


def factor(config: Config, step: int, total_steps: int) -> float:
    """The factor of the learning rate at ``step`` (0-based): warm-up, then the schedule; 0 to 1.

    The curves are those of diffusers' ``get_scheduler``; polynomial ends at zero.
    """
    warmup = warmup_steps(config, total_steps)
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
