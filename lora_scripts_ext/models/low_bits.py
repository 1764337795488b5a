"""A frozen model whose weights are kept in 8 bits and cast where they are used: half the memory of 16.

A weight is kept as float8 (e4m3: 3 bits of fraction, largest value 448, smallest 2^-9) and one scale for each of its
rows, an output channel. Without a scale, weights as small as those of Stable Diffusion would fall where e4m3 has few
values or none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layer import row_scale, widened

_STORED = torch.float8_e4m3fn


class _Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Linear``, in the dtype of ``x``."""
        return F.linear(x, widened(self.weight, row_scale(self), x.dtype), self.bias)


class _Conv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``, in the dtype of ``x``."""
        return self._conv_forward(x, widened(self.weight, row_scale(self), x.dtype), self.bias)


_KINDS: dict[type[nn.Module], type[_Linear] | type[_Conv2d]] = {nn.Linear: _Linear, nn.Conv2d: _Conv2d}


def keep_in_8_bits(model: nn.Module) -> None:
    """The weights of every Linear and Conv2d become float8 (e4m3, rounded to the nearest), with a ``row_scale``
    (bfloat16, [outputs, 1, ...]); the rest stays."""
    for module in model.modules():
        kind = _KINDS.get(type(module))
        if kind is not None and isinstance(module, nn.Linear | nn.Conv2d):
            scale = _scale(module.weight)
            stored = (module.weight.float() / scale.float()).to(_STORED)
            module.__class__ = kind
            module.weight = nn.Parameter(stored, requires_grad=False)
            module.register_buffer("row_scale", scale)


def _scale(weight: Tensor) -> Tensor:
    """What brings the largest value of each row to 448, bfloat16 [outputs, 1, ...]: its rounding costs nothing, as the
    weights are divided by what it was rounded to."""
    peaks = weight.float().abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    scale = peaks / torch.finfo(_STORED).max
    return torch.where(scale > 0, scale, torch.ones_like(scale)).to(torch.bfloat16)
