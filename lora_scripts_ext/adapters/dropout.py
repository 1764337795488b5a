"""Dropout of an adapter's inputs: masks are a function of (example, layer), however a batch is split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

# torch draws integers of 31 bits, each of which makes two of 15.
_LEVELS = 2**15


class Dropout:
    """The dropout masks of one batch.

    Every mask is drawn from a seed of its own, so a block that is computed twice (gradient checkpointing) gets the same
    one, and no generator's state matters. Nothing synchronises the device with the host.

    Attributes:
        scale: factor of the inputs that are kept, so that the expected value stays the same (Srivastava et al. 2014,
            section 10).
    """

    def __init__(self, rate: float, seeds: Sequence[int], device: torch.device) -> None:
        """Drop with probability ``rate``, to within 2^-16; ``seeds``: one of 63 bits for every example of the batch."""
        self._kept_levels = max(1, round((1 - rate) * _LEVELS))
        self._seeds = list(seeds)
        self._device = device
        # Meta tensors have no values.
        self._generator = torch.Generator(device) if device.type != "meta" else None
        self.scale = _LEVELS / self._kept_levels

    def mask(self, shape: torch.Size, layer_seed: int) -> Tensor:
        """1 where the input of a layer is kept, else 0: uint8 of ``shape``.

        The first axis is the examples, or several rows of each in turn. ``layer_seed``: see :func:`layer_seed`.
        """
        count = shape.numel() // len(self._seeds)
        bits = torch.empty(len(self._seeds), (count + 1) // 2, dtype=torch.int32, device=self._device)
        if self._generator is not None:
            for row, seed in zip(bits, self._seeds, strict=True):
                row.random_(generator=self._generator.manual_seed(seed ^ layer_seed))
        levels = bits.view(torch.int16).bitwise_and_(_LEVELS - 1)[:, :count]
        return (levels < self._kept_levels).view(torch.uint8).view(shape)


def layer_seed(key: str) -> int:
    """A layer's 63-bit part in the seeds of its masks, by its kohya key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
