"""A host's layer: whether its weight can be multiplied as it lies, and its forward replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_MISSING = object()
_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)


def is_plain(weight: Tensor, x: Tensor) -> bool:
    """Whether a frozen weight can be multiplied with ``x``, once it is cast: not quantised or waiting elsewhere.

    A weight of 8 bits is a number as others are; what is kept for the backward is the weight as it lies.
    """
    kinds = (x.dtype, *_EIGHT_BITS)
    return type(weight) is nn.Parameter and weight.dtype in kinds and weight.device == x.device


def row_scale(module: nn.Module) -> Tensor | None:
    """What the rows of a weight of 8 bits are to be multiplied with, [outputs, 1, ...]; None where they are as they
    are, as WebUIs keep them."""
    return module._buffers.get("row_scale")


def widened(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A frozen weight, with its ``row_scale``, in ``dtype``; the weight itself where it is that already."""
    return weight.to(dtype) if scale is None else weight.to(dtype, copy=True).mul_(scale)


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """What autocast, where it is on, computes matrix products in."""
    if device_type == "meta":
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None
    # torch before 2.4 asks for each kind of device by its own name.
    if device_type == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def is_replaced(module: nn.Module) -> bool:
    """Whether someone has given this very module a forward of its own."""
    return "forward" in module.__dict__


@contextmanager
def overriding(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Set the instance's own ``forward``; afterwards the instance holds what it held before."""
    before = module.__dict__.get("forward", _MISSING)
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is _MISSING:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before
