"""What a run will take, before it is started."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Config
from ..contract import Inspection
from ..training.estimate import Estimate
from ..training.estimate import estimate as estimate_run
from ..training.speed import flops_per_second


@dataclass(frozen=True)
class JobEstimate:
    """The estimate of a run with the time it takes on its device.

    Attributes:
        run: images, steps, memory and file size.
        seconds: of all steps, without previews.
        device_type: ``cpu``, ``cuda`` or ``mps``.
    """

    run: Estimate
    seconds: float
    device_type: str


def estimate(config: Config, model: Inspection) -> JobEstimate:
    """Estimate a run of ``config`` on ``model``.

    Raises:
        UserError: the run could not start.
    """
    run = estimate_run(config, model)
    return JobEstimate(run, run.flops / flops_per_second(model.device, model.dtype), model.device.type)
