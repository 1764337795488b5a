"""The log of a run: its events, and the loss of every step, read one step late."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .. import memory
from . import divergence
from .events import Events
from .listener import Context, Listener

Report = Callable[[dict[str, Any]], None]
_RATE_WINDOW = 20


class Log(Listener):
    """Writes events to the log files and reports them; keeps the losses of the current epoch.

    Attributes:
        warnings: those of this process; an earlier part of a resumed run has its own.
    """

    def __init__(self, context: Context, report: Report, meter: memory.Meter) -> None:
        """Open the log files where the run stands; only the main process writes and reports."""
        self._context = context
        self._progress = context.progress
        self._report = report
        self._meter = meter
        self._events: Events | None = None
        if context.world.is_main:
            self._events = Events(context.output.folder, self._progress.step, context.config.tensorboard)
        self._pending: tuple[int, float, Tensor] | None = None
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._epoch_losses: list[float] = []
        self._last_epoch_loss = 0.0
        self.warnings: list[str] = []

    def close(self) -> None:
        """Close the log files."""
        if self._events is not None:
            self._events.close()

    def emit(self, event: dict[str, Any]) -> None:
        """Log an event and report it."""
        if self._events is not None:
            stamped = {**event, "time": round(time.time(), 3)}
            self._events.write(stamped)
            self._report(stamped)

    def warn(self, text: str) -> None:
        """Log and report what the user should know."""
        self.warnings.append(text)
        self.emit({"event": "warning", "text": text})

    def state_dict(self) -> dict[str, Any]:
        """The losses so far, for JSON."""
        return {"epoch_losses": self._epoch_losses, "last_epoch_loss": self._last_epoch_loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the losses of a saved state."""
        self._epoch_losses = state["epoch_losses"]
        self._last_epoch_loss = state["last_epoch_loss"]

    def mean_loss(self) -> float:
        """Mean loss of the current epoch, or of the one before where no step of it is done."""
        return _mean(self._epoch_losses) if self._epoch_losses else self._last_epoch_loss

    def on_optimizer_step(self, loss: Tensor, learning_rate: float) -> None:
        """Log the step before this one: reading a loss at once would make the host wait for the device."""
        self.flush()
        self._pending = (self._progress.step, learning_rate, loss)
        self._times.append(time.monotonic())

    def on_epoch_end(self) -> None:
        """Close the epoch's losses."""
        self.flush()
        self._last_epoch_loss = _mean(self._epoch_losses)
        self._epoch_losses = []

    def on_train_end(self) -> None:
        """Log the last step."""
        self.flush()

    def flush(self) -> None:
        """Log the step whose loss is not read yet; waits for the device.

        Raises:
            TrainingError: the loss is not finite.
        """
        if self._pending is None:
            return
        step, learning_rate, loss = self._pending
        self._pending = None
        value = loss.item()
        if not math.isfinite(value):
            raise divergence.bad_loss(self._context, step)
        self._epoch_losses.append(value)
        rate, total = self._rate(), self._progress.total_steps
        self.emit({
            "event": "step", "step": step, "steps": total, "epoch": self._progress.epoch_of(step), "loss": value,
            "learning_rate": learning_rate, "rate": rate, "memory_mb": round(self._meter.peak_mb(), 1),
            "eta": round((total - step) / rate, 1) if rate else None,
        })  # fmt: skip

    def _rate(self) -> float:
        """Steps per second over the last few."""
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        return round((len(self._times) - 1) / (self._times[-1] - self._times[0]), 4)


def _mean(losses: list[float]) -> float:
    return sum(losses) / max(1, len(losses))
