"""Memory: how much is free, how much a run takes at its peak, and errors of running out of it."""

from __future__ import annotations

import errno
import gc
from pathlib import Path

import torch

from . import memory_limits

# Of CUDA with its libraries, of MPS, of torch's allocator on a CPU (Linux, Windows) and of the C++ library.
_PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "status_alloc_failed",
)

#: to be caught where memory may run out, then tested with ``ran_out``; ``MemoryError`` is no ``RuntimeError``
ERRORS = (RuntimeError, MemoryError)


def free(device: torch.device, share: float) -> int:
    """``share`` of the bytes now free on ``device``."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * share)
    available = memory_limits.available()
    return int((2**31 if available is None else available) * share)


def ran_out(error: BaseException) -> bool:
    """Whether ``error`` is one of running out of memory."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def release(device: torch.device) -> None:
    """Free unreferenced and cached memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Meter:
    """The peak of memory use since the meter was created.

    On a CUDA device the allocations of this process. On a CPU the resident set of the process: on Linux its true peak;
    elsewhere the largest value at a call of ``peak_mb``.
    """

    def __init__(self, device: torch.device, own: Path = Path("/proc/self")) -> None:
        """Start from the current use; ``own`` is this process's folder in Linux's /proc."""
        self._device = device
        self._status = own / "status"
        self._most = 0
        if device.type == "cuda":
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
            return
        self._exact = _forget_peak(own / "clear_refs")

    def peak_mb(self) -> float:
        """Megabytes (2**20 bytes)."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        peak = memory_limits.kilobytes(self._status, "VmHWM") if self._exact else None
        self._most = max(self._most, memory_limits.resident() if peak is None else peak)
        return self._most / 2**20


def _forget_peak(clear: Path) -> bool:
    """Reset Linux's peak of the resident set (proc(5), ``clear_refs``); False where that is not possible."""
    try:
        clear.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
