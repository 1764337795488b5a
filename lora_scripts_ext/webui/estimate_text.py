"""What a run will take, said to whoever is about to start it."""

from __future__ import annotations

from ..training.estimate import Estimate
from ..training.speed import flops_per_second


def sentence(told: Estimate) -> str:
    """Pictures, steps, time and memory in a line or two; time without the previews."""
    model = told.model
    seconds = told.flops / flops_per_second(model.device, model.dtype)
    return (
        f"{len(told.dataset.examples)} pictures, {told.steps} steps ({told.steps_per_epoch} an epoch). "
        f"About {_duration(seconds)} on this {_device(model.device.type)}, previews not counted, and about "
        f"{_size(told.extra_bytes)} of memory beside the model. The LoRA will have {_size(told.file_bytes)}."
    )


def _device(kind: str) -> str:
    return "processor (no graphics card is used)" if kind == "cpu" else "graphics card"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(2, round(seconds))} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"
