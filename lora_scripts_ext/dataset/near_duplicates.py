"""Images that show nearly the same, found by their latents: no image has to be decoded again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Cells along each side that latents of all sizes are averaged to.
_CELLS = 8
# Of two images of the shipped brands, which share their ground, the likest reach 0.78; an image saved again as a JPEG
# of quality 40, blurred or resized 0.99, made a fifth brighter or flatter 0.80 to 0.95.
_ALIKE = 0.85
# Compared with all others at a time.
_CHUNK = 512
# Latents of fewer images say too little about what all have in common.
_LEAST = 3


def near_duplicates(latents: Sequence[Tensor]) -> set[int]:
    """The indices of those that are nearly the same as another one, mirrored ones included.

    What all images have in common, such as a ground, is subtracted first; two are alike where the cosine of what is
    left is at least 0.85.

    Args:
        latents: float32 [channels, height, width] of each image, of any size.
    """
    if len(latents) < _LEAST:
        return set()
    pooled = torch.stack([F.adaptive_avg_pool2d(one.float(), _CELLS) for one in latents])
    rest = pooled - pooled.mean(0)
    plain = _unit(rest)
    mirrored = _unit(pooled.flip(-1) - pooled.mean(0))
    # Copies of one image in a set of nothing else leave no rest.
    found = set((plain.square().sum(1) == 0).nonzero().flatten().tolist())
    for first in range(0, len(plain), _CHUNK):
        rows = plain[first : first + _CHUNK]
        cosines = torch.maximum(rows @ plain.T, rows @ mirrored.T)
        # Not with itself.
        cosines.diagonal(first).fill_(0)
        found.update((first + (cosines.max(1).values >= _ALIKE).nonzero().flatten()).tolist())
    return found


def _unit(rest: Tensor) -> Tensor:
    """[images, ...] -> [images, numbers] of length 1, or 0 where all are 0."""
    flat = rest.flatten(1)
    length = flat.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-6, flat / length.clamp(min=1e-6), torch.zeros_like(flat))
