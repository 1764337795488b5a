"""A LoRA's weights by layer, as files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class LoraLayer:
    """One layer of a file; its effect is ``alpha / rank · up · down``.

    Attributes:
        down: [rank, inputs], or [rank, inputs, height, width] for a convolution.
        up: [outputs, rank], or [outputs, rank, 1, 1] for a convolution.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """The matrices by what follows the layer's key in their names."""
        return {"lora_down.weight": self.down, "lora_up.weight": self.up}


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA file that was read: its layers by kohya key."""

    path: Path
    layers: dict[str, LoraLayer]
