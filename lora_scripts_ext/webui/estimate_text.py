"""The estimate of a run as a sentence on the page."""

from __future__ import annotations

from ..jobs.estimate import JobEstimate


def sentence(estimate: JobEstimate) -> str:
    """Images, steps, time and memory in a line or two; time without the previews."""
    run = estimate.run
    return (
        f"{len(run.dataset.examples)} images, {run.steps} steps ({run.steps_per_epoch} per epoch). "
        f"About {_duration(estimate.seconds)} on this {_device(estimate.device_type)} without previews, and about "
        f"{_size(run.extra_bytes)} of memory in addition to the model. The LoRA file will be {_size(run.file_bytes)}."
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
