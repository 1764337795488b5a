"""The LoRA file: .safetensors with kohya keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save as serialise
from torch import Tensor

from .. import finite
from ..errors import TrainingError
from ..files import write_bytes
from .file_metadata import hashes
from .lora_weights import LoraWeights
from .methods.method import FileLayer
from .opened import opened


def save(path: Path, layers: Mapping[str, FileLayer], dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write ``layers``, by key, as kohya's files are, atomically; the hashes are added to ``metadata``.

    Of a LoRA: ``<key>.lora_down.weight`` and ``<key>.lora_up.weight`` in ``dtype``, ``<key>.alpha`` float32 without
    dimensions.

    Raises:
        TrainingError: a weight is NaN or infinite, or too large for ``dtype``; nothing is written.
    """
    tensors = {}
    for key, layer in layers.items():
        for name, matrix in layer.tensors().items():
            tensors[f"{key}.{name}"] = _stored(path, key, matrix, dtype)
        tensors[f"{key}.alpha"] = torch.tensor(layer.alpha)
    training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    complete = {**metadata, **hashes(serialise(tensors, training))}
    write_bytes(path, serialise(tensors, complete))


def read(path: Path) -> LoraWeights:
    """Read a whole LoRA, see :func:`opened.opened`.

    Raises:
        UserError: there is no such file, it is damaged, or no LoRA of this kind.
    """
    with opened(path) as lora:
        return LoraWeights(path, {key: lora.layer(key) for key in lora.keys()})  # noqa: SIM118 (no mapping)


def _stored(path: Path, key: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    stored = tensor.to("cpu", dtype).contiguous()
    if math.isfinite(finite.largest(stored)):
        return stored
    size = finite.largest(tensor)
    if math.isfinite(size):
        raise TrainingError(
            f"{path}: not written, the LoRA's weights are too large for this file format (up to {size:.3g} in {key}); "
            "set save_precision: fp32 or bf16."
        )
    raise TrainingError(
        f"{path}: not written, the LoRA's weights are NaN or infinite (the first in {key}); the training has diverged, "
        "lower learning_rate."
    )
