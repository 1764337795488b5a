"""The lanes of a machine: one job at a time on each device, and one beside them that only handles files."""

from __future__ import annotations

import socket

from ..library.job import Job
from .kinds import registry

FILES = "files"


def of_this_machine() -> list[str]:
    """A lane for each device that trainings can use, and one for files."""
    import torch

    if torch.cuda.is_available():
        devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    else:
        devices = ["mps" if torch.backends.mps.is_available() else "cpu"]
    return [lane(device) for device in [*devices, FILES]]


def lane(device: str) -> str:
    """The lane of a device of this machine, as torch calls it."""
    return f"{socket.gethostname()} {device}"


def accepts(lane: str, job: Job) -> bool:
    """Whether a job may run in a lane."""
    device = lane.rpartition(" ")[2]
    if registry.by_name(job.kind).lane == "files" or device == FILES:
        return registry.by_name(job.kind).lane == "files" and device == FILES
    wanted = str(job.config.get("device", "auto"))
    return not (wanted.startswith("cuda:") and device.startswith("cuda:") and wanted != device)
