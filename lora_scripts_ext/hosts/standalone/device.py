"""The device the model computes on, and its dtype."""

from __future__ import annotations

import os

import torch

from ...config import Config
from ...errors import UserError
from ...precision import DTYPES


def pick_device(config: Config) -> torch.device:
    """The device that ``config.device`` names; ``auto`` takes the GPU if there is one.

    Under ``torchrun`` every process takes the GPU of its ``LOCAL_RANK``.

    Raises:
        UserError: there is no such device.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device is {config.device!r}; valid: auto, cpu, cuda, cuda:1, mps.") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device is {config.device!r}; valid: auto, cpu, cuda, cuda:1, mps.")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= there:
        raise UserError(
            f"device {device}: torch {torch.__version__} sees {there} {device.type} device(s) here; "
            "set device: auto, or install the torch build for your GPU."
        )
    return device


def pick_dtype(config: Config, device: torch.device) -> torch.dtype:
    """The dtype of the frozen model on ``device``."""
    if config.mixed_precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return DTYPES[config.mixed_precision]
