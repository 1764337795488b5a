"""How much memory the run takes, how much is free, and what to do when there is no more."""

from __future__ import annotations

import errno
import gc
from pathlib import Path

import torch

from . import memory_limits

# Of CUDA with its libraries, of MPS, of torch's allocator on a CPU (Linux, Windows) and of the C++ library.
_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "status_alloc_failed",
)

#: what to catch where memory may run out, then to be asked ``ran_out``; ``MemoryError`` is no ``RuntimeError``
ERRORS = (RuntimeError, MemoryError)


def free(device: torch.device, share: float) -> int:
    """``share`` of the bytes now free on ``device``."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * share)
    there = memory_limits.available()
    return int((2**31 if there is None else there) * share)


def ran_out(error: BaseException) -> bool:
    """Whether ``error`` says that there was no more memory."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def release(device: torch.device) -> None:
    """Give back what nobody uses any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Meter:
    """The peak of memory since the meter was made.

    On a CUDA device the allocations of this process. On a CPU the resident set of the process: on Linux its true peak;
    elsewhere the most that was seen when asked.
    """

    def __init__(self, device: torch.device, own: Path = Path("/proc/self")) -> None:
        """Start from what is in use now; ``own`` is where Linux tells of this process."""
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
        seen = memory_limits.kilobytes(self._status, "VmHWM") if self._exact else None
        self._most = max(self._most, memory_limits.resident() if seen is None else seen)
        return self._most / 2**20


def _forget_peak(clear: Path) -> bool:
    """Let Linux count the peak of the resident set from now on (proc(5), ``clear_refs``); False where it does not."""
    try:
        clear.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
