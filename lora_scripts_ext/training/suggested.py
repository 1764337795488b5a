"""Which of a run's files to use, by the loss on its held-out images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ..evaluation.suggestion import Point, Suggestion, suggest
from .checkpoints import Checkpoints
from .listener import Context
from .validation import Validation

# Beside full strength: what prompts usually name.
_STRENGTHS = (0.6, 0.8)


def suggested(context: Context, validation: Validation, checkpoints: Checkpoints) -> Suggestion | None:
    """The checkpoint or finished file to use, and its strength; None where no image was held out.

    To be called when the adapter is detached.
    """
    points = _points(context, validation, checkpoints)
    if not points:
        return None
    base = validation.points[0].base
    first = suggest(points, base)
    if first is None:
        return None
    chosen = next(point for point in points if point.checkpoint == first.checkpoint)
    for strength in _STRENGTHS:
        loss = validation.of_file(Path(chosen.checkpoint), strength)
        points.append(Point(chosen.checkpoint, chosen.step, loss, chosen.epoch, strength))
    return suggest(points, base)


def _points(context: Context, validation: Validation, checkpoints: Checkpoints) -> list[Point]:
    """The files whose loss was measured, in the order of training; of two of one step the finished one."""
    losses = {one.step: one.loss for one in validation.points if one.step and math.isfinite(one.loss)}
    files: Mapping[int, Path] = checkpoints.by_step(validation.finished_step())
    every = context.progress.steps_per_epoch
    return [
        Point(str(path), step, losses[step], context.progress.epoch_of(step) if step % every == 0 else None)
        for step, path in sorted(files.items())
        if step in losses and path.is_file()
    ]
