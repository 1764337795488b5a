"""How fast a device computes, found in a fraction of a second: for the ETA of an estimate."""

from __future__ import annotations

import functools
import time

import torch

from ..adapters import products

# What a step of a full-size SD1.5 UNet reaches of the rate of one large matrix product: on a CPU as measured (0.6 to
# 1.0 of it), elsewhere what is usual.
_REACHED = {"cpu": 0.75}
_USUALLY_REACHED = 0.4
_SIDE = {"cpu": 1536}
_LARGE_SIDE = 4096
_TRIES = 3


@functools.cache
def flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second that a training step may be expected to reach."""
    side = _SIDE.get(device.type, _LARGE_SIDE)
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    best = min(_seconds(matrix) for _ in range(_TRIES))
    return _REACHED.get(device.type, _USUALLY_REACHED) * 2 * side**3 / best


def _seconds(matrix: torch.Tensor) -> float:
    start = time.perf_counter()
    # Reading a number back waits for the device.
    products.linear(matrix, matrix)[0, 0].item()
    return time.perf_counter() - start
