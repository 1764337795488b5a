"""A frozen model whose weights are kept in 8 bits and cast where they are used: half the memory of 16."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STORED = torch.float8_e4m3fn


class _Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Linear``, in the dtype of ``x``."""
        return F.linear(x, self.weight.to(x.dtype), self.bias)


class _Conv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.Conv2d``, in the dtype of ``x``."""
        return self._conv_forward(x, self.weight.to(x.dtype), self.bias)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: _Linear, nn.Conv2d: _Conv2d}


def keep_in_8_bits(model: nn.Module) -> None:
    """The weights of every Linear and Conv2d become float8 (e4m3, rounded to the nearest); the rest stays."""
    for module in model.modules():
        kind = _KINDS.get(type(module))
        if kind is not None:
            module.__class__ = kind
            module.weight = nn.Parameter(module.weight.to(_STORED), requires_grad=False)
