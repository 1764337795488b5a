"""How much memory the run takes, and what to do when there is no more."""

from __future__ import annotations

import gc

import torch

# Of CUDA and MPS, and of torch's allocator on a CPU.
_WORDS = ("out of memory", "not enough memory", "can't allocate memory")


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


def ran_out(error: BaseException) -> bool:
    """Whether ``error`` says that there was no more memory."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in str(error).lower() for words in _WORDS)


def release(device: torch.device) -> None:
    """Give back what nobody uses any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
