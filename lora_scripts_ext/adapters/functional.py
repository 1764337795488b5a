"""The maths of LoRA, ``y = W x + b + scale · up (down x)``, with its gradients.

One autograd function per kind of layer. It computes the frozen layer and the adapter together, so that the adapter
costs no pass over the activations of its own, and it adds the gradients of ``down`` and ``up`` straight to their place
in the flat gradient buffer. Letters in shapes: I inputs, O outputs, R rank.

LoRA: Hu et al. 2021, arXiv:2106.09685.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..models.layer import widened
from . import products
from .products import Geometry


@dataclass(frozen=True)
class Matrices:
    """The weights of one adapter, in the dtype of the activations, and where their gradients are added up.

    Attributes:
        down: [R, I], or [R, I, height, width] for a convolution.
        up: [O, R].
        down_grad: float32, shaped like ``down``.
        up_grad: float32, shaped like ``up``.
    """

    down: Tensor
    up: Tensor
    down_grad: Tensor
    up_grad: Tensor


@dataclass(frozen=True)
class Frozen:
    """The layer that is adapted: its weights, in the dtype of the activations or 8 bits, or else the output it gave.

    Attributes:
        weight: [O, I], or [O, I, height, width] for a convolution with one group.
        bias: [O].
        row_scale: [O, 1, ...], what the rows of a weight of 8 bits are to be multiplied with.
        output: the layer's result for the same input; only looked at when ``weight`` is None.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    row_scale: Tensor | None = None
    output: Tensor | None = None


def linear(
    x: Tensor, frozen: Frozen, matrices: Matrices, scale: float, leaf: Tensor, kept: Tensor | None = None
) -> Tensor:
    """A frozen Linear plus its adapter: ``x`` [..., I] -> [..., O], contiguous.

    ``leaf`` is any leaf tensor that requires grad: through it autograd records the call where ``x`` needs no gradient.
    ``kept``, uint8 shaped like ``x``, is 0 where the adapter does not see its input.
    """
    return _Linear.apply(x, frozen.output, frozen.weight, frozen.row_scale, frozen.bias, matrices, scale, leaf, kept)


def conv(
    x: Tensor,
    frozen: Frozen,
    matrices: Matrices,
    scale: float,
    leaf: Tensor,
    kept: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    """A frozen Conv2d plus its adapter: ``x`` [batch, I, height, width] -> [batch, O, height', width'].

    ``down`` moves over ``x`` as the frozen kernel does, ``up`` is a 1x1 convolution (kohya's LoCon). The memory layout
    of ``x``, contiguous or channels-last, is kept in both directions, but on a CPU see ``products.arranged``: a
    different one makes every frozen convolution behind it convert. ``leaf``, ``kept``: see :func:`linear`.
    """
    if frozen.weight is not None:
        x = products.arranged(x, frozen.weight)
    return _Conv.apply(
        x, frozen.output, frozen.weight, frozen.row_scale, frozen.bias, matrices, scale, leaf, kept, geometry
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
        kept: Tensor | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        kept = None if kept is None else kept.view(rows.shape)
        if weight is None:
            y = output.reshape(-1, output.shape[-1]).clone()
        else:
            y = products.linear(rows, widened(weight, row_scale, x.dtype), bias)
        hidden = products.linear(_thinned(rows, kept), matrices.down)
        y.addmm_(hidden, matrices.up.t(), alpha=scale)
        ctx.save_for_backward(rows, hidden, weight, row_scale, matrices.down, matrices.up, kept)
        ctx.matrices, ctx.scale, ctx.shape = matrices, scale, x.shape
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, hidden, weight, row_scale, down, up, kept = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        grad_hidden = products.linear(grad_rows, up.t())
        # Few rows times many columns; the other way round takes ten times as long on a CPU.
        ctx.matrices.up_grad.add_(products.linear(hidden.t(), grad_rows.t()).t(), alpha=ctx.scale)
        ctx.matrices.down_grad.add_(products.linear(grad_hidden.t(), _thinned(rows, kept).t()), alpha=ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if weight is None:
                grad_x = _thinned(grad_hidden @ down, kept).mul_(ctx.scale)
            else:
                grad_x = products.linear(grad_rows, widened(weight, row_scale, grad.dtype).t())
                if kept is None:
                    grad_x.addmm_(grad_hidden, down, alpha=ctx.scale)
                else:
                    grad_x.add_(_thinned(grad_hidden @ down, kept), alpha=ctx.scale)
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
        kept: Tensor | None,
        geometry: Geometry,
    ) -> Tensor:
        if weight is None:
            y = output.clone()
        else:
            y = products.conv(x, widened(weight, row_scale, x.dtype), bias, geometry)
        seen = _thinned(x, kept)
        if products.is_pointwise(matrices.down, geometry):
            hidden = _mix(matrices.down.flatten(1), seen)
        else:
            hidden = F.conv2d(seen, matrices.down, None, **vars(geometry))
        _add_mixed(y, matrices.up, hidden, scale)
        ctx.save_for_backward(x, hidden, weight, row_scale, matrices.down, matrices.up, kept)
        ctx.matrices, ctx.scale, ctx.geometry = matrices, scale, geometry
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, weight, row_scale, down, up, kept = ctx.saved_tensors
        seen = _thinned(x, kept)
        grad_hidden = _mix(up.t(), grad)
        ctx.matrices.up_grad.add_(_outer(hidden, grad).t(), alpha=ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = _frozen_grad(grad, x, weight, row_scale, ctx.geometry)
        if products.is_pointwise(down, ctx.geometry):
            ctx.matrices.down_grad.flatten(1).add_(_outer(grad_hidden, seen), alpha=ctx.scale)
            if grad_x is not None and kept is None:
                _add_mixed(grad_x, down.flatten(1).t(), grad_hidden, ctx.scale)
            elif grad_x is not None:
                grad_x.add_(_thinned(_mix(down.flatten(1).t(), grad_hidden), kept), alpha=ctx.scale)
        else:
            through_down, grad_down = products.conv_grads(
                grad_hidden, seen, down, ctx.geometry, to_input=grad_x is not None, to_kernel=True
            )
            ctx.matrices.down_grad.add_(grad_down, alpha=ctx.scale)
            if grad_x is not None:
                grad_x.add_(_thinned(through_down, kept), alpha=ctx.scale)
        return grad_x, grad if ctx.needs_input_grad[1] else None, None, None, None, None, None, None, None, None


def _thinned(x: Tensor, kept: Tensor | None) -> Tensor:
    """``x`` with zeros where it is not kept, in its own layout.

    The cast by itself, as a CPU multiplies numbers of two kinds slowly.
    """
    return x if kept is None else x * kept.to(x.dtype)


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
