"""Changes of weights as products of low rank, ``up · down``: added, truncated, compared, without forming them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .lora_weights import LoraLayer


@dataclass(frozen=True)
class Product:
    """``up · down``.

    Attributes:
        up: float64 [outputs, rank].
        down: float64 [rank, inputs], of a convolution [rank, inputs · height · width].
    """

    up: Tensor
    down: Tensor

    @classmethod
    def sum(cls, parts: Sequence[tuple[LoraLayer, float]]) -> Product:
        """The sum of the layers' effects times their weights, exactly: ranks are put side by side.

        Both matrices of a layer get the root of its scale, so that neither leaves the range of a half-precision file.
        """
        ups, downs = [], []
        for layer, weight in parts:
            scale = weight * layer.alpha / layer.rank
            root = math.sqrt(abs(scale))
            ups.append(layer.up.double().flatten(1) * math.copysign(root, scale))
            downs.append(layer.down.double().flatten(1) * root)
        return cls(torch.cat(ups, dim=1), torch.cat(downs))

    def truncated(self, rank: int) -> Product:
        """The nearest product of this rank (Eckart and Young 1936), its singular values shared between both matrices.

        Two QR decompositions leave a matrix as small as the rank to be decomposed.
        """
        left, upper = torch.linalg.qr(self.up)
        right, lower = torch.linalg.qr(self.down.T)
        u, values, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
        roots = values[:rank].sqrt()
        return Product((left @ u[:, :rank]) * roots, roots[:, None] * (v[:rank] @ right.T))

    def squared_norm(self) -> float:
        """Squared Frobenius norm."""
        return max(0.0, float(((self.up.T @ self.up) * (self.down @ self.down.T)).sum()))

    def squared_distance(self, other: Product) -> float:
        """Squared Frobenius norm of the difference."""
        return Product(torch.cat([self.up, -other.up], dim=1), torch.cat([self.down, other.down])).squared_norm()
