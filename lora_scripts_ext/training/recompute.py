"""Gradient checkpointing: a block's activations are dropped, and recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..models.layer import overriding


@contextmanager
def checkpointed(blocks: Iterable[nn.Module], *, enabled: bool) -> Iterator[None]:
    """Wrap each block's forward for the time of the context; the modules are left as they were found.

    Nothing in a block draws from torch's own generators, whose state is not kept: see ``adapters.dropout``.

    Non-reentrant, because a frozen model's inputs need no gradient and the re-entrant kind would drop the adapter's.
    """
    with ExitStack() as stack:
        for block in blocks if enabled else []:
            stack.enter_context(overriding(block, partial(_recomputed, block.forward)))
        yield


def _recomputed(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
