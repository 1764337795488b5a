"""Gradient checkpointing: forget a block's activations, compute them again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_MISSING = object()


@contextmanager
def checkpointed(blocks: Iterable[nn.Module], *, enabled: bool) -> Iterator[None]:
    """Wrap each block's forward for the time of the context; the modules are left as they were found.

    Non-reentrant, because a frozen model's inputs need no gradient and the re-entrant kind would drop the adapter's.
    """
    found = [(block, block.__dict__.get("forward", _MISSING)) for block in blocks] if enabled else []
    try:
        for block, _ in found:
            block.forward = partial(_recomputed, block.forward)
        yield
    finally:
        for block, before in found:
            if before is _MISSING:
                block.__dict__.pop("forward", None)
            else:
                block.forward = before


def _recomputed(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
