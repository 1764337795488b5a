"""A finished LoRA on the model of a session, to draw with or to measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..contract import Session
from . import file
from .adapter import Adapter
from .targets import select


@contextmanager
def applied(session: Session, lora: Path, strength: float = 1.0) -> Iterator[Adapter]:
    """Attach the LoRA in the file for the time of the context, its effect multiplied by ``strength``.

    Raises:
        UserError: it cannot be read, or is for another kind of base model.
    """
    weights = file.read(lora)
    with_text = any(key.startswith("lora_te") for key in weights.layers)
    targets = select(list(session.targets()), "full", with_text)
    own = [target for target in targets if target.key in weights.layers]
    adapter = Adapter(
        # The file of another program names its layers in its own way.
        own if len(own) == len(weights.layers) else targets,
        max(layer.rank for layer in weights.layers.values()),
        device=session.model.device,
        dtype=session.model.dtype,
    )
    adapter.load(weights)
    adapter.strength = strength
    with adapter.attached():
        yield adapter
