"""The held-out loss of a run, epoch by epoch, and what follows from it: when to stop early, which weights are best."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import memory
from ..adapters.adapter import Adapter
from ..adapters.applied import applied
from ..dataset.store import Store
from . import optimizer
from .held_out import HeldOutLoss
from .listener import Context, Listener
from .log import Log
from .state import State

# Of the run's time. A prediction without gradients takes as long as 0.4 of an image in a training step.
_SHARE_OF_TIME, _PREDICTIONS_PER_STEP = 0.05, 2.5
# With 8 draws, checkpoints are ranked nearly, with 16 always as with 224; more than 32 tell nothing more
# (benchmarks/RESULTS.md).
_FEWEST_DRAWS, _MOST_DRAWS = 8, 32
# Measurements beside those after epochs: before the first step, and of two further strengths at the end.
_BESIDE = 3


@dataclass(frozen=True)
class Point:
    """The mean loss on the held-out images at one point of a run.

    Attributes:
        loss: with the adapter.
        base: of the base model, on the same noise and timesteps.
    """

    step: int
    epoch: int
    loss: float
    base: float


class Validation(Listener):
    """Measures the held-out loss before the first step and after epochs.

    With ``early_stopping`` it keeps the best weights.

    Attributes:
        points: what was measured so far, by step.
        best_weights: float32 [parameters] on CPU, those of the lowest loss; None unless ``early_stopping`` is on.
    """

    def __init__(self, context: Context, log: Log, images: Store | None) -> None:
        """``images``: those that are held out; None where none are."""
        self._context = context
        self._log = log
        self.points: list[Point] = []
        self.best_weights: Tensor | None = None
        self._loss: HeldOutLoss | None = None
        self._every = 1
        # The most predictions that memory sufficed for, once that is known.
        self._at_once: int | None = None
        if images is not None:
            config = context.config
            visits = sum(one.repeats for one in context.store.examples if not one.regularisation)
            epochs = context.progress.epochs
            draws, self._every = cost(visits, epochs, len(images.examples), config.save_epochs)
            self._loss = HeldOutLoss(config, context.session, images, draws=draws)

    @property
    def images(self) -> int:
        """How many images are held out."""
        return self._loss.images if self._loss is not None else 0

    @property
    def best(self) -> Point | None:
        """The point of the lowest loss after the first step, the earliest of equal ones."""
        return min((one for one in self.points if one.step), key=lambda one: one.loss, default=None)

    def state_dict(self) -> dict[str, Any]:
        """The points so far, for JSON."""
        return {"held_out": [asdict(one) for one in self.points]}

    def restore(self, state: State) -> None:
        """Resume from the points, and the best weights, of a saved state."""
        self.points = [Point(**one) for one in state.progress.get("held_out", [])]
        self.best_weights = state.best

    def finished_step(self) -> int:
        """The step whose weights the run comes to: the last one's, or, where they are kept, the best ones'."""
        best = self.best
        return self._context.progress.step if self.best_weights is None or best is None else best.step

    @contextmanager
    def finished_weights(self) -> Iterator[None]:
        """The adapter with the weights that the run comes to, for the time of the context."""
        context = self._context
        if self.best_weights is None:
            with optimizer.averaged(context.stepper.optimizer, context.adapter):
                yield
            return
        last = context.adapter.weights.detach().clone()
        _set_weights(context.adapter, self.best_weights)
        try:
            yield
        finally:
            _set_weights(context.adapter, last)

    def metadata(self, step: int) -> dict[str, str]:
        """What a LoRA's file says of the held-out loss up to ``step``; nothing where none was measured.

        ``lora_trainer_held_out_loss`` is JSON, [[step, loss with the LoRA, loss of the base model], ...];
        ``ss_num_validation_images`` is kohya's.
        """
        measured = [[one.step, one.loss, one.base] for one in self.points if one.step <= step]
        if not measured:
            return {}
        return {"lora_trainer_held_out_loss": json.dumps(measured), "ss_num_validation_images": str(self.images)}

    def should_stop(self) -> bool:
        """Whether the loss has not fallen for ``early_stopping`` epochs."""
        patience, best = self._context.config.early_stopping, self.best
        if not patience or best is None or self.points[-1].step != self._context.progress.step:
            return False
        return self.points[-1].epoch - best.epoch >= patience and self.points[-1].step > best.step

    def on_train_begin(self) -> None:
        """Measure the base model, unless the run is resumed."""
        if self._loss is None or self.points or not self._context.world.is_main:
            return
        with self._context.adapter.suspended():
            base = self._measure()
        untrained = self._context.progress.step == 0 and not self._context.config.init_lora
        loss = base if untrained else self._measure()
        self._add(loss, base)

    def on_epoch_end(self) -> None:
        """Measure where that is due."""
        context, progress = self._context, self._context.progress
        due = progress.done or (progress.epoch_ended and progress.epoch % self._every == 0)
        if self._loss is None or not due or not self.points or not context.world.is_main:
            return
        with optimizer.averaged(context.stepper.optimizer, context.adapter):
            self._add(self._measure(), self.points[0].base)
            if context.config.early_stopping and self.best == self.points[-1]:
                self.best_weights = context.adapter.weights.detach().to("cpu", copy=True)

    def of_file(self, lora: Path, strength: float) -> float:
        """The mean loss with a file at a strength; the run's own adapter must be detached."""
        assert self._loss is not None
        with applied(self._context.session, lora, strength):
            return self._measure()

    def _add(self, loss: float, base: float) -> None:
        progress = self._context.progress
        # A loss that is not finite ends the run elsewhere, with the reason.
        if not math.isfinite(loss) or not math.isfinite(base):
            return
        self.points.append(Point(progress.step, progress.epoch, loss, base))
        self._log.emit({"event": "held_out", **asdict(self.points[-1])})

    def _measure(self) -> float:
        """The mean loss of the model as it is now; with fewer images at once where memory runs out."""
        assert self._loss is not None
        self._at_once = min(self._at_once or self._loss.usual_batch, self._context.stepper.at_once or sys.maxsize)
        while True:
            try:
                return self._loss(self._at_once).mean
            except memory.ERRORS as error:
                if not memory.ran_out(error) or self._at_once == 1:
                    raise
            # Outside of the handler, whose traceback holds on to what was computed.
            memory.release(self._context.session.model.device)
            self._at_once = (self._at_once + 1) // 2


def cost(visits: int, epochs: int, images: int, save_epochs: int) -> tuple[int, int]:
    """How many draws a measurement takes, and after every how many epochs it is due, so that all measurements together
    take at most a twentieth of the run's time, unless it is too short for one after its last step.

    Args:
        visits: images that an epoch trains on, each as often as it is repeated.
        epochs: of the run.
        images: how many are held out; each takes at least one draw.
        save_epochs: after every how many epochs a checkpoint is written, 0 for none.
    """
    predictions = _SHARE_OF_TIME * _PREDICTIONS_PER_STEP * visits * epochs
    draws = max(_FEWEST_DRAWS, images, min(_MOST_DRAWS, int(predictions / (epochs + _BESIDE))))
    most = max(1, int(predictions / draws) - _BESIDE)
    every = math.ceil(epochs / most)
    if every > 1 and save_epochs > 1:
        # Where checkpoints are, so that each of those that are compared has its loss.
        every = math.ceil(every / save_epochs) * save_epochs
    return draws, every


@torch.no_grad()
def _set_weights(adapter: Adapter, weights: Tensor) -> None:
    adapter.weights.copy_(weights)
    adapter.refresh()
