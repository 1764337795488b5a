"""Frozen layers without an adapter, computed as fast and in as little memory as those with one.

What torch saves for the gradient of a weight is not needed: a frozen convolution does not save its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..contract import Target
from ..models.layer import autocast_dtype, bias, is_replaced, overriding, plain_weight, row_scale, widened
from . import products
from .products import Geometry


@contextmanager
def efficient_frozen_layers(targets: Iterable[Target]) -> Iterator[None]:
    """Within this context the targets are computed here where gradients are recorded, else by their own forward.

    Modules whose forward was replaced before are left as they are.
    """
    with ExitStack() as stack:
        for module in (target.module for target in targets):
            # A replaced forward may compute anything.
            if not is_replaced(module):
                forward = _conv_forward(module) if isinstance(module, nn.Conv2d) else _linear_forward(module)
                stack.enter_context(overriding(module, forward))
        yield


def _linear_forward(module: nn.Module) -> Callable[[Tensor], Tensor]:
    original = module.forward

    def forward(x: Tensor) -> Tensor:
        # torch would save the cast copy of an 8-bit weight for the backward pass.
        worthwhile = products.uses_onednn(x) or module.weight.dtype != x.dtype
        weight = _weight_if_recording(module, x) if worthwhile else None
        return original(x) if weight is None else _Linear.apply(x, weight, row_scale(module), bias(module))

    return forward


def _conv_forward(module: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    original = module.forward
    geometry = Geometry.of(module)

    def forward(x: Tensor) -> Tensor:
        weight = None if geometry is None else _weight_if_recording(module, x)
        if weight is None:
            return original(x)
        return _Conv.apply(products.arranged(x, weight), weight, row_scale(module), bias(module), geometry)

    return forward


def _weight_if_recording(module: nn.Module, x: Tensor) -> Tensor | None:
    """The weight, if gradients are recorded and the layer computes in the dtype of its input and its weight."""
    same = autocast_dtype(x.device.type) in (None, x.dtype)
    return plain_weight(module, x) if torch.is_grad_enabled() and same else None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        rows = x.reshape(-1, x.shape[-1])
        return products.linear(rows, widened(weight, scale, x.dtype), bias).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        weight = widened(weight, scale, grad.dtype)
        rows = products.linear(grad.reshape(-1, grad.shape[-1]), weight.t())
        return rows.view(*grad.shape[:-1], -1), None, None, None


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.shape, ctx.layout, ctx.geometry = x.shape, products.layout(x), geometry
        return products.conv(x, widened(weight, scale, x.dtype), bias, geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        weight = widened(weight, scale, grad.dtype)
        to_input = products.conv_input_grad(grad, ctx.shape, ctx.layout, weight, ctx.geometry)
        return to_input, None, None, None, None
