"""A host's layer: whether its weight is a plain tensor, and how its forward is overridden in a context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

_MISSING = object()
_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)


@runtime_checkable
class _Linear(Protocol):
    """``nn.Linear``, or Forge's, which is a class of its own."""

    in_features: int
    out_features: int


def features(module: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a Linear.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(module, _Linear):
        raise TypeError(f"{type(module).__name__} is no Linear")
    return module.in_features, module.out_features


def plain_weight(module: nn.Module, x: Tensor) -> nn.Parameter | None:
    """A frozen layer's weight if it can be multiplied with ``x`` after a cast: not quantised and not on another device.

    8-bit floats count as plain: they are saved for the backward pass as they are, and cast again there.
    """
    weight = module.weight
    dtypes = (x.dtype, *_EIGHT_BITS)
    if type(weight) is nn.Parameter and weight.dtype in dtypes and weight.device == x.device:
        return weight
    return None


def bias(module: nn.Module) -> Tensor | None:
    """A frozen layer's bias, if it has one."""
    value = module.bias
    return value if isinstance(value, Tensor) else None


def row_scale(module: nn.Module) -> Tensor | None:
    """Factors of the rows of an 8-bit weight, [outputs, 1, ...]; None where there are none, as in WebUIs."""
    return module._buffers.get("row_scale")


def widened(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A frozen weight, with its ``row_scale``, in ``dtype``; the weight itself where nothing has to be done."""
    return weight.to(dtype) if scale is None else weight.to(dtype, copy=True).mul_(scale)


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """The dtype of matrix products under autocast; None where it is off."""
    if device_type == "meta":
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None
    # torch before 2.4 has a function per kind of device.
    if device_type == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def is_replaced(module: nn.Module) -> bool:
    """Whether this instance has a forward of its own."""
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
