"""The model as it is trained: the adapter attached, frozen layers computed as fast as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from ..adapters import frozen
from ..adapters.adapter import Adapter
from ..contract import Target
from . import recompute


@contextmanager
def attached(
    adapter: Adapter, targets: Iterable[Target], blocks: Iterable[nn.Module], *, gradient_checkpointing: bool
) -> Iterator[None]:
    """Attach the adapter for the time of the context, and restore the model afterwards; ``targets`` and ``blocks`` are
    all of the model's.

    ``gradient_checkpointing``: see ``recompute.checkpointed``.
    """
    with ExitStack() as stack:
        stack.enter_context(adapter.attached())
        stack.enter_context(frozen.efficient_frozen_layers(adapter.frozen_targets(targets)))
        stack.enter_context(recompute.checkpointed(blocks, enabled=gradient_checkpointing))
        yield
