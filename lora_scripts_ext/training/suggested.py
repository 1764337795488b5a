"""Which of a run's files to use: by the loss on its held-out images, and by whether they copy what they draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..adapters.applied import applied
from ..dataset.store import Store
from ..evaluation.examination import Examination
from ..evaluation.suggestion import Point, Suggestion, suggest
from .checkpoints import Checkpoints
from .listener import Context
from .log import Log
from .validation import Validation

# Beside full strength: what prompts usually name.
_STRENGTHS = (0.6, 0.8)
# Files that are examined where the ones before copy training images.
_MOST_EXAMINED = 5
# Images that a run has to have seen: of a shorter one, examining a file would be much of the time.
_WORTH_EXAMINING = 900


@dataclass(frozen=True)
class Verdict:
    """What a run came to.

    Attributes:
        suggestion: which file to use.
        warnings: what its user should know of that file, a sentence each.
    """

    suggestion: Suggestion
    warnings: tuple[str, ...]


def verdict(
    context: Context, log: Log, validation: Validation, checkpoints: Checkpoints, held_out: Store | None
) -> Verdict | None:
    """The checkpoint or finished file to use, and its strength; None where no image was held out.

    To be called when the adapter is detached. What is found of a file that is examined goes to ``log``.
    """
    points = _points(context, validation, checkpoints)
    if not points or held_out is None:
        return None
    base = validation.points[0].base
    warnings: tuple[str, ...] = ()
    if _seen(context) >= _WORTH_EXAMINING:
        points, warnings = _examined(context, log, held_out, points, base)
    first = suggest(points, base)
    if first is None:
        return None
    chosen = next(point for point in points if point.checkpoint == first.checkpoint)
    for strength in _STRENGTHS:
        loss = validation.of_file(Path(chosen.checkpoint), strength)
        points.append(replace(chosen, loss=loss, strength=strength))
    final = suggest(points, base)
    return None if final is None else Verdict(final, warnings if final.warns else ())


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


def _examined(
    context: Context, log: Log, held_out: Store, points: Sequence[Point], base: float
) -> tuple[list[Point], tuple[str, ...]]:
    """The points with what was found of them, and sentences about the best where all copy training images.

    Files are examined, the one of the lowest loss first, until one does not copy; where the first few all do, the
    others are left out.
    """
    examination = Examination(context.config, context.session, context.store, held_out)
    left, copies, said = list(points), list[Point](), list[list[str]]()
    while left and len(copies) < _MOST_EXAMINED:
        first = suggest(left, base)
        if first is None:
            break
        chosen = next(point for point in left if point.checkpoint == first.checkpoint)
        with applied(context.session, Path(chosen.checkpoint)):
            findings = examination()
        log.emit({"event": "examined", "checkpoint": chosen.checkpoint, **asdict(findings)})
        if not findings.copies:
            return [*copies, *left], ()
        left.remove(chosen)
        copies.append(replace(chosen, copies=True))
        said.append(findings.sentences())
    return copies, tuple(said[0]) if said else ()
