"""How much memory the run takes."""

from __future__ import annotations

import torch


def used_mb(device: torch.device) -> float:
    """Megabytes in use: the peak of the accelerator's allocations, or this process's resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import psutil
    except ImportError:
        return 0.0
    return psutil.Process().memory_info().rss / 2**20


def free(device: torch.device, share: float) -> int:
    """``share`` of the bytes now free on ``device``."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * share)
    try:
        import psutil
    except ImportError:
        return 2**31
    return int(psutil.virtual_memory().available * share)
