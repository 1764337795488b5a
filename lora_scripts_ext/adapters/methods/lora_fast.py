"""The fast path of ``lora.py``: ``y = W x + b + scale · up (down x)`` with gradients of its own.

One autograd function per kind of layer. It computes the frozen layer and the adapter together, so that the adapter
costs no pass over the activations of its own, and it adds the gradients of ``down`` and ``up`` straight to
``Matrices.grads``, views of the flat gradient buffer. Letters in shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...models.layer import widened
from .. import products
from ..products import Geometry
from .method import Frozen, Matrices


def linear(x: Tensor, frozen: Frozen, matrices: Matrices, scale: float, leaf: Tensor, mask: Tensor | None) -> Tensor:
    """A frozen Linear plus its adapter: ``x`` [..., I] -> [..., O], contiguous.

    ``leaf``, ``mask``: see ``method.FastForward``.
    """
    return _Linear.apply(x, frozen.output, frozen.weight, frozen.row_scale, frozen.bias, matrices, scale, leaf, mask)


def conv(
    x: Tensor,
    frozen: Frozen,
    matrices: Matrices,
    scale: float,
    leaf: Tensor,
    mask: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    """A frozen Conv2d plus its adapter: ``x`` [batch, I, height, width] -> [batch, O, height', width'].

    ``down`` moves over ``x`` as the frozen kernel does, ``up`` is a 1x1 convolution (kohya's LoCon). The memory layout
    of ``x``, contiguous or channels-last, is kept in both directions, but on a CPU see ``products.arranged``: a
    different one makes every frozen convolution behind it convert. ``leaf``, ``mask``: see ``method.FastForward``.
    """
    if frozen.weight is not None:
        x = products.arranged(x, frozen.weight)
    return _Conv.apply(
        x, frozen.output, frozen.weight, frozen.row_scale, frozen.bias, matrices, scale, leaf, mask, geometry
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        output: Tensor | None,
        weight: Tensor | None,
        row_scale: Tensor | None,
        bias: Tensor | None,
        matrices: Matrices,
        scale: float,
        leaf: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        mask = None if mask is None else mask.view(rows.shape)
        if weight is None:
            assert output is not None, "one of both is given"
            y = output.reshape(-1, output.shape[-1]).clone()
        else:
            y = products.linear(rows, widened(weight, row_scale, x.dtype), bias)
        down, up = matrices.weights
        hidden = products.linear(_masked(rows, mask), down)
        y.addmm_(hidden, up.t(), alpha=scale)
        ctx.save_for_backward(rows, hidden, weight, row_scale, down, up, mask)
        ctx.grads, ctx.scale, ctx.shape = matrices.grads, scale, x.shape
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, hidden, weight, row_scale, down, up, mask = ctx.saved_tensors
        down_grad, up_grad = ctx.grads
        grad_rows = grad.reshape(-1, grad.shape[-1])
        grad_hidden = products.linear(grad_rows, up.t())
        # Few rows times many columns; the other way round takes ten times as long on a CPU.
        up_grad.add_(products.linear(hidden.t(), grad_rows.t()).t(), alpha=ctx.scale)
        down_grad.add_(products.linear(grad_hidden.t(), _masked(rows, mask).t()), alpha=ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if weight is None:
                grad_x = _masked(grad_hidden @ down, mask).mul_(ctx.scale)
            else:
                grad_x = products.linear(grad_rows, widened(weight, row_scale, grad.dtype).t())
                if mask is None:
                    grad_x.addmm_(grad_hidden, down, alpha=ctx.scale)
                else:
                    grad_x.add_(_masked(grad_hidden @ down, mask), alpha=ctx.scale)
            grad_x = grad_x.view(ctx.shape)
        return grad_x, grad if ctx.needs_input_grad[1] else None, None, None, None, None, None, None, None


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        output: Tensor | None,
        weight: Tensor | None,
        row_scale: Tensor | None,
        bias: Tensor | None,
        matrices: Matrices,
        scale: float,
        leaf: Tensor,
        mask: Tensor | None,
        geometry: Geometry,
    ) -> Tensor:
        if weight is None:
            assert output is not None, "one of both is given"
            y = output.clone()
        else:
            y = products.conv(x, widened(weight, row_scale, x.dtype), bias, geometry)
        visible = _masked(x, mask)
        down, up = matrices.weights
        if products.is_pointwise(down, geometry):
            hidden = _mix(down.flatten(1), visible)
        else:
            hidden = F.conv2d(visible, down, None, **vars(geometry))
        _add_mixed(y, up, hidden, scale)
        ctx.save_for_backward(x, hidden, weight, row_scale, down, up, mask)
        ctx.grads, ctx.scale, ctx.geometry = matrices.grads, scale, geometry
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, weight, row_scale, down, up, mask = ctx.saved_tensors
        down_grad, up_grad = ctx.grads
        visible = _masked(x, mask)
        grad_hidden = _mix(up.t(), grad)
        up_grad.add_(_outer(hidden, grad).t(), alpha=ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = _frozen_grad(grad, x, weight, row_scale, ctx.geometry)
        if products.is_pointwise(down, ctx.geometry):
            down_grad.flatten(1).add_(_outer(grad_hidden, visible), alpha=ctx.scale)
            if grad_x is not None and mask is None:
                _add_mixed(grad_x, down.flatten(1).t(), grad_hidden, ctx.scale)
            elif grad_x is not None:
                grad_x.add_(_masked(_mix(down.flatten(1).t(), grad_hidden), mask), alpha=ctx.scale)
        else:
            if grad_x is None:
                kernel_grad = products.conv_kernel_grad(grad_hidden, visible, down, ctx.geometry)
            else:
                through_down, kernel_grad = products.conv_grads(grad_hidden, visible, down, ctx.geometry)
                grad_x.add_(_masked(through_down, mask), alpha=ctx.scale)
            down_grad.add_(kernel_grad, alpha=ctx.scale)
        return grad_x, grad if ctx.needs_input_grad[1] else None, None, None, None, None, None, None, None, None


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with zeros where ``mask`` is 0, in its own layout.

    The cast by itself, as a CPU multiplies numbers of two kinds slowly.
    """
    return x if mask is None else x * mask.to(x.dtype)


def _frozen_grad(
    grad: Tensor, x: Tensor, weight: Tensor | None, row_scale: Tensor | None, geometry: Geometry
) -> Tensor:
    """The gradient to ``x`` through the frozen kernel; zero where autograd itself sees to the frozen layer."""
    if weight is None:
        return torch.zeros_like(x)
    wide = widened(weight, row_scale, grad.dtype)
    return products.conv_input_grad(grad, x.shape, products.layout(x), wide, geometry)


def _rows(image: Tensor) -> Tensor:
    """[batch, C, height, width] -> [batch · height · width, C]; a view when ``image`` is channels-last."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def _mix(matrix: Tensor, image: Tensor) -> Tensor:
    """``matrix`` [P, C] applied to the channels of ``image`` [batch, C, height, width], in the layout of ``image``."""
    batch, _, height, width = image.shape
    if image.is_contiguous():
        return torch.bmm(matrix.expand(batch, -1, -1), image.flatten(2)).view(batch, -1, height, width)
    return (_rows(image) @ matrix.t()).view(batch, height, width, -1).permute(0, 3, 1, 2)


def _add_mixed(image: Tensor, matrix: Tensor, hidden: Tensor, scale: float) -> None:
    """image += scale · matrix applied to the channels of ``hidden``, in place, in the layout of ``image``."""
    if image.is_contiguous():
        batch = len(image)
        hidden = hidden.contiguous().flatten(2)
        image.flatten(2).baddbmm_(matrix.expand(batch, -1, -1), hidden, alpha=scale)
    elif image.is_contiguous(memory_format=torch.channels_last):
        _rows(image).addmm_(_rows(hidden), matrix.t(), alpha=scale)
    else:
        image.add_(_mix(matrix, hidden), alpha=scale)


def _outer(hidden: Tensor, image: Tensor) -> Tensor:
    """Sum over batch and positions of hidden · imageᵀ: [batch, R, …], [batch, C, …] -> [R, C]."""
    if image.is_contiguous():
        return torch.bmm(hidden.contiguous().flatten(2), image.flatten(2).transpose(1, 2)).sum(0)
    return _rows(hidden).t() @ _rows(image)
