"""LoRA: ``W' = W + scale · up · down``, of low rank (Hu et al. 2021, arXiv:2106.09685).

``down`` is [R, I], or [R, I, height, width] for a convolution, ``up`` is [O, R]; I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...contract import Target
from ...models.layer import features
from ..lora_weights import LoraLayer
from ..products import Geometry
from . import lora_fast
from .method import FastForward, Method, Shapes


class Lora(Method[LoraLayer]):
    """A product of two small matrices, ``down`` and ``up``.

    In a convolution ``down`` moves over the input as the frozen kernel does, and ``up`` is a 1x1 convolution (kohya's
    LoCon).
    """

    def shapes(self, target: Target, rank: int) -> Shapes:
        module = target.module
        if isinstance(module, nn.Conv2d):
            return (rank, module.in_channels, *module.kernel_size), (module.out_channels, rank)
        inputs, outputs = features(module)
        return (rank, inputs), (outputs, rank)

    def start(self, shapes: Shapes, generator: torch.Generator) -> tuple[Tensor, ...]:
        """``down`` as ``kaiming_uniform_(a=sqrt(5))``, whose bound is 1 / sqrt(inputs); ``up`` zero."""
        down, up = shapes
        bound = 1 / math.sqrt(math.prod(down[1:]))
        return torch.empty(down).uniform_(-bound, bound, generator=generator), torch.zeros(up)

    def forward(self, target: Target, x: Tensor, output: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        down, up = weights
        module = target.module
        if not isinstance(module, nn.Conv2d):
            return output + scale * (x @ down.T) @ up.T
        hidden = F.conv2d(x, down, None, module.stride, module.padding, module.dilation)
        return output + scale * F.conv2d(hidden, up[:, :, None, None])

    def fast(self, target: Target) -> FastForward | None:
        """For Linear, and for convolutions with one group and zero padding."""
        if not isinstance(target.module, nn.Conv2d):
            return lora_fast.linear
        geometry = Geometry.of(target.module)
        return None if geometry is None else partial(lora_fast.conv, geometry=geometry)

    def to_file(self, weights: Sequence[Tensor], alpha: float) -> LoraLayer:
        down, up = weights
        return LoraLayer(down, up[:, :, None, None] if down.dim() == 4 else up, alpha)

    def fits(self, layer: LoraLayer, weights: Sequence[Tensor]) -> bool:
        down, up = weights
        return layer.down[0].numel() == down[0].numel() and len(layer.up) == len(up)

    def from_file(self, layer: LoraLayer, weights: Sequence[Tensor], scale: float) -> None:
        """Where the rank is larger, the further rows of ``down`` stay as they are; their columns of ``up`` are zero."""
        (down, up), rank = weights, layer.rank
        down.flatten(1)[:rank] = layer.down.flatten(1)
        up[:, :rank] = layer.up.flatten(1).to(up) * (layer.alpha / rank / scale)
        up[:, rank:] = 0
