"""Which of a run's files to use, by the loss on its held-out images; what else can be measured of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from ..dataset.store import Store
from ..evaluation.examination import examine
from ..evaluation.suggestion import Point, Suggestion, suggest
from .checkpoints import Checkpoints
from .listener import Context
from .log import Log
from .validation import Validation

# Beside full strength: what prompts usually name.
_STRENGTHS = (0.6, 0.8)
# Images that a run has to have seen: of a shorter one, examining a file would be more than an eighth of the time.
_WORTH_EXAMINING = 1200


def suggested(
    context: Context,
    log: Log,
    validation: Validation,
    checkpoints: Checkpoints,
    held_out: Store | None,
    warn: Callable[[str], None],
) -> Suggestion | None:
    """The checkpoint or finished file to use, and its strength; None where no image was held out.

    To be called when the adapter is detached. What is found of the file goes to ``log``, a sentence on it to ``warn``.
    """
    points = _points(context, validation, checkpoints)
    if not points or held_out is None:
        return None
    base = validation.points[0].base
    first = suggest(points, base)
    if first is None:
        return None
    chosen = next(point for point in points if point.checkpoint == first.checkpoint)
    for strength in _STRENGTHS:
        loss = validation.of_file(Path(chosen.checkpoint), strength)
        points.append(replace(chosen, loss=loss, strength=strength))
    if _seen(context) >= _WORTH_EXAMINING:
        found = examine(context.config, context.session, context.store, held_out, Path(chosen.checkpoint))
        log.emit({"event": "examined", "checkpoint": chosen.checkpoint, **asdict(found)})
        if sentence := found.warning(chosen.name):
            warn(sentence)
    return suggest(points, base)


def _points(context: Context, validation: Validation, checkpoints: Checkpoints) -> list[Point]:
    """The files whose loss was measured, in the order of training; of two of one step the finished one."""
    losses = {one.step: one.loss for one in validation.points if one.step and math.isfinite(one.loss)}
    every = context.progress.steps_per_epoch
    return [
        Point(str(path), step, losses[step], context.progress.epoch_of(step) if step % every == 0 else None)
        for step, path in sorted(checkpoints.by_step(validation.finished_step()).items())
        if step in losses and path.is_file()
    ]


def _seen(context: Context) -> int:
    """Images that the run has trained on, each as often as it was."""
    visits = sum(one.repeats for one in context.store.examples if not one.regularisation)
    return visits * context.progress.step // context.progress.steps_per_epoch
