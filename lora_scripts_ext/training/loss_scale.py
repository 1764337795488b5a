"""The loss scale of fp16, and whether it still finds a value at which gradients are finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import TrainingError

_WARN_AFTER = 10
# By then the scale is 2**25 times smaller than before, and gradients still overflow.
_FAIL_AFTER = 25


def make_scaler(device: torch.device, dtype: torch.dtype) -> Any:
    """A gradient scaler for fp16 (float16 ``dtype``), switched off for everything else."""
    enabled = dtype == torch.float16
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled and device.type == "cuda")


class SkippedSteps:
    """Counts the steps in a row that the scaler skipped because a gradient overflowed."""

    def __init__(self, scaler: Any, warn: Callable[[str], None]) -> None:
        self._scaler = scaler
        self._warn = warn
        self._scale = scaler.get_scale()
        self._skipped = 0

    def after_step(self, step: int) -> None:
        """To be called after ``scaler.update()`` of ``step`` (1-based).

        Raises:
            TrainingError: step after step is skipped, so nothing is learned.
        """
        if not self._scaler.is_enabled():
            return
        # The scaler itself waits for the device in every step: reading the scale costs nothing more.
        scale = self._scaler.get_scale()
        self._skipped = self._skipped + 1 if scale < self._scale else 0
        self._scale = scale
        if self._skipped == _WARN_AFTER:
            self._warn(
                f"The gradients overflowed fp16 in {_WARN_AFTER} steps in a row, up to step {step}; these steps were "
                "skipped and changed nothing. If it continues, use mixed_precision: bf16 or fp32."
            )
        if self._skipped == _FAIL_AFTER:
            raise TrainingError(
                f"The gradients overflowed fp16 in {_FAIL_AFTER} steps in a row, up to step {step}, so nothing is "
                "learned; set mixed_precision: bf16 or fp32, or lower learning_rate."
            )
