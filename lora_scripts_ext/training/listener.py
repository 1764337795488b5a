"""What follows a run step by step: its logs, its previews, what it saves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..adapters.adapter import Adapter
from ..config import Config
from ..contract import Session
from ..dataset.store import Store
from .output import Output
from .processes import World
from .step import Stepper


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        total_steps: optimizer steps of the whole run.
        step: optimizer steps done, those before a resume included.
        ended_early: whether the run is done before its last step, because the held-out loss no longer falls.
    """

    total_steps: int
    steps_per_epoch: int
    step: int = 0
    ended_early: bool = False

    @property
    def epoch(self) -> int:
        """The epoch (1-based) of the last step; 0 before the first one."""
        return self.epoch_of(self.step)

    @property
    def epochs(self) -> int:
        """Epochs of the whole run, the last of which may be cut short."""
        return self.epoch_of(self.total_steps)

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step completed an epoch."""
        return self.step % self.steps_per_epoch == 0

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.ended_early or self.step >= self.total_steps

    def epoch_of(self, step: int) -> int:
        """The epoch (1-based) of a step (1-based)."""
        return -(-step // self.steps_per_epoch)


@dataclass(frozen=True)
class Context:
    """The parts of a run that its listeners share."""

    config: Config
    session: Session
    store: Store
    world: World
    adapter: Adapter
    stepper: Stepper
    output: Output
    progress: Progress


class Listener:
    """Called by the training loop, in the order of these methods; each does nothing unless overridden.

    Between ``on_optimizer_step`` and ``on_epoch_end`` the loop asks whether it should stop.
    """

    def on_train_begin(self) -> None:
        """Before the first step of this process, a resumed one included."""

    def on_optimizer_step(self, loss: Tensor, learning_rate: float) -> None:
        """The weights have moved. ``loss`` is a float32 scalar on the device, which must not be read yet: the host
        would wait for the device."""

    def on_epoch_end(self) -> None:
        """After the last step of an epoch, or of the run."""

    def on_step_end(self, stopped: bool) -> None:
        """After everything else in a step; ``stopped``: no other step follows, because the user stopped the run."""

    def on_train_end(self) -> None:
        """After the last step, unless an exception ended the run."""


class Listeners(Listener):
    """Several listeners as one, called in their order."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = tuple(listeners)

    def on_train_begin(self) -> None:
        """Call each listener."""
        for listener in self._listeners:
            listener.on_train_begin()

    def on_optimizer_step(self, loss: Tensor, learning_rate: float) -> None:
        """Call each listener."""
        for listener in self._listeners:
            listener.on_optimizer_step(loss, learning_rate)

    def on_epoch_end(self) -> None:
        """Call each listener."""
        for listener in self._listeners:
            listener.on_epoch_end()

    def on_step_end(self, stopped: bool) -> None:
        """Call each listener."""
        for listener in self._listeners:
            listener.on_step_end(stopped)

    def on_train_end(self) -> None:
        """Call each listener."""
        for listener in self._listeners:
            listener.on_train_end()
