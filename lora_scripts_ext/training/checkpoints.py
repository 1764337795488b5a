"""The LoRA files of a run: its checkpoints and the finished file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import divergence, optimizer
from .facts import Facts
from .listener import Context, Listener
from .log import Log
from .previews import Previews
from .validation import Validation


def due_by_step(context: Context) -> bool:
    """Whether ``save_steps`` wants the last step saved."""
    every = context.config.save_steps
    return bool(every) and context.progress.step % every == 0


def due_by_epoch(context: Context) -> bool:
    """Whether ``save_epochs`` wants the epoch saved that ended with the last step."""
    every, progress = context.config.save_epochs, context.progress
    return bool(every) and progress.epoch_ended and progress.epoch % every == 0


class Checkpoints(Listener):
    """Writes the LoRA every ``save_steps`` and ``save_epochs``, when the run is stopped, and at its end.

    Attributes:
        paths: the checkpoints that are kept, oldest first.
        final: the finished file, once written.
    """

    def __init__(self, context: Context, log: Log, validation: Validation, previews: Previews) -> None:
        self._context = context
        self._log = log
        self._validation = validation
        self._previews = previews
        progress = context.progress
        self._facts = Facts(
            context.config, context.session.model, context.store, progress.steps_per_epoch, progress.total_steps
        )
        self.paths: list[Path] = []
        self.final: Path | None = None

    def state_dict(self) -> dict[str, Any]:
        """The names of the checkpoints, for JSON."""
        return {"checkpoints": [path.name for path in self.paths]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count the checkpoints of a saved state as this run's."""
        self.paths = [self._context.output.folder / name for name in state["checkpoints"]]

    def on_step_end(self, stopped: bool) -> None:
        """Write a checkpoint where one is due; the last step's is the finished file."""
        if self._context.progress.done:
            return
        if stopped or due_by_step(self._context):
            self._save(by_epoch=False)
        elif due_by_epoch(self._context):
            self._save(by_epoch=True)

    def on_train_end(self) -> None:
        """Write the finished file, unless the run was stopped before."""
        context = self._context
        if not context.progress.done:
            return
        divergence.check_weights(context)
        if context.world.is_main:
            with self._validation.finished_weights():
                metadata = self._metadata(self._validation.finished_step())
                self.final = context.output.write_final(context.adapter, metadata, self._previews.cover())

    def _save(self, *, by_epoch: bool) -> None:
        context, output, progress = self._context, self._context.output, self._context.progress
        self._log.flush()
        divergence.check_weights(context)
        if not context.world.is_main:
            return
        with optimizer.averaged(context.stepper.optimizer, context.adapter):
            metadata = self._metadata(progress.step)
            if by_epoch:
                path = output.write_epoch(context.adapter, progress.epoch, metadata)
            else:
                path = output.write_step(context.adapter, progress.step, metadata)
        self.paths = output.prune([*(old for old in self.paths if old != path), path], self._best())
        self._log.emit({"event": "checkpoint", "step": progress.step, "path": str(path)})

    def _best(self) -> Path | None:
        """The checkpoint of the lowest held-out loss: it is not deleted for newer ones."""
        losses = {one.step: one.loss for one in self._validation.points}
        measured = [path for path in self.paths if self._step_of(path) in losses]
        return min(measured, key=lambda path: losses[self._step_of(path)], default=None)

    def by_step(self, finished_step: int) -> dict[int, Path]:
        """The files by the step whose weights they hold; ``finished_step`` is the finished file's."""
        found = {self._step_of(path): path for path in self.paths}
        return found if self.final is None else {**found, finished_step: self.final}

    def _step_of(self, path: Path) -> int:
        step = self._context.output.step_of(path)
        return (
            step if step is not None else self._context.output.epoch_of(path) * self._context.progress.steps_per_epoch
        )

    def _metadata(self, step: int) -> dict[str, str]:
        return {**self._facts.metadata(step), **self._validation.metadata(step)}
