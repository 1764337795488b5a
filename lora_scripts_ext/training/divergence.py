"""Errors for a training that diverged: numbers that are not finite are never written."""

from __future__ import annotations

import torch

from .. import finite
from ..errors import TrainingError
from . import state as states
from .listener import Context


def check_weights(context: Context) -> None:
    """Check that the adapter's weights are finite; waits for the device.

    Raises:
        TrainingError: they are not.
    """
    if not torch.isfinite(context.adapter.weights).all():
        raise _diverged(context, f"The LoRA's weights are not finite after step {context.progress.step}")


def bad_loss(context: Context, step: int) -> TrainingError:
    """The error for a loss of ``step`` (1-based) that is not finite."""
    what = f"The loss is not a finite number at step {step}"
    # In the first step the adapter has no effect yet, unless it was loaded: the base model is to blame.
    return TrainingError(finite.explain(context.session, what)) if step == 1 else _diverged(context, what)


def _diverged(context: Context, what: str) -> TrainingError:
    states_left = states.saved(context.output.state_dir)
    still = f" The state of {states_left[-1].name} is kept." if states_left else ""
    return TrainingError(
        f"{what}: the training diverged. Lower learning_rate (it is {context.config.learning_rate:g}) and start "
        f"again.{still}"
    )
