"""Which inputs of an adapter are dropped: a function of (example, layer), however a batch is split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

# Random bits come in whole numbers of 31, each of which makes two of 15.
_LEVELS = 2**15


class Dropout:
    """What is dropped while one batch is computed.

    Every mask is drawn anew from its seed, so a block that is computed twice (gradient checkpointing) gets the same
    one, and no generator's state matters. The device never makes the host wait.

    Attributes:
        scale: what is kept is multiplied with it, that the expected value stays (Srivastava et al. 2014, section 10).
    """

    def __init__(self, rate: float, seeds: Sequence[int], device: torch.device) -> None:
        """Drop the share ``rate``, to within 2^-16; ``seeds`` holds one of 63 bits for every example of the batch."""
        self._kept_levels = max(1, round((1 - rate) * _LEVELS))
        self._seeds = list(seeds)
        self._device = device
        # Meta tensors hold no numbers to be drawn.
        self._generator = torch.Generator(device) if device.type != "meta" else None
        self.scale = _LEVELS / self._kept_levels

    def kept(self, shape: torch.Size, layer: int) -> Tensor:
        """1 where the input of a layer is kept, else 0: uint8 of ``shape``.

        The first axis is the examples, or several rows of each in turn. ``layer``: see :func:`number`.
        """
        count = shape.numel() // len(self._seeds)
        bits = torch.empty(len(self._seeds), (count + 1) // 2, dtype=torch.int32, device=self._device)
        for row, seed in zip(bits, self._seeds, strict=True) if self._generator else ():
            row.random_(generator=self._generator.manual_seed(seed ^ layer))
        levels = bits.view(torch.int16).bitwise_and_(_LEVELS - 1)[:, :count]
        return (levels < self._kept_levels).view(torch.uint8).view(shape)


def number(key: str) -> int:
    """A 63-bit number for a layer, by its kohya key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
