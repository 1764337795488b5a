"""A finished LoRA on the model of a session, to draw with or to measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ..contract import Session, Target
from . import file
from .adapter import Adapter
from .lora_weights import LoraWeights
from .targets import select


@contextmanager
def applied(session: Session, lora: Path, strength: float = 1.0) -> Iterator[Adapter]:
    """Attach the LoRA in the file for the time of the context, its effect multiplied by ``strength``.

    Raises:
        UserError: it cannot be read, or is for another kind of base model.
    """
    model = session.model
    adapter = from_file(lora, strength, list(session.targets()), model.device, model.dtype)
    with adapter.attached():
        yield adapter


def from_file(
    lora: Path, strength: float, targets: Sequence[Target], device: torch.device, dtype: torch.dtype
) -> Adapter:
    """The LoRA in the file for ``targets`` of a model, its effect multiplied by ``strength``, not attached.

    Raises:
        UserError: it cannot be read, or is for another kind of base model.
    """
    return _made(file.read(lora), strength, targets, device, dtype)


def unet_part(
    lora: Path, strength: float, targets: Sequence[Target], device: torch.device, dtype: torch.dtype
) -> Adapter | None:
    """As :func:`from_file`, without what the LoRA has for text encoders; None where it has nothing else."""
    weights = file.read(lora)
    layers = {key: layer for key, layer in weights.layers.items() if not key.startswith("lora_te")}
    return _made(replace(weights, layers=layers), strength, targets, device, dtype) if layers else None


def _made(
    weights: LoraWeights, strength: float, targets: Sequence[Target], device: torch.device, dtype: torch.dtype
) -> Adapter:
    with_text = any(key.startswith("lora_te") for key in weights.layers)
    targets = select(targets, "full", with_text)
    own = [target for target in targets if target.key in weights.layers]
    adapter = Adapter(
        # The file of another program names its layers in its own way.
        own if len(own) == len(weights.layers) else targets,
        max(layer.rank for layer in weights.layers.values()),
        device=device,
        dtype=dtype,
    )
    adapter.load(weights)
    adapter.strength = strength
    return adapter
