"""The LoRA file: .safetensors with kohya keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from .. import finite
from ..errors import TrainingError, UserError
from ..files import write_bytes
from .metadata import hashes

if TYPE_CHECKING:
    from .adapter import Adapter

# (down, up) as kohya, PEFT and older diffusers end their keys.
_SUFFIXES = (
    (".lora_down.weight", ".lora_up.weight"),
    (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"),
)
_DIFFUSERS_PREFIXES = {"unet.": "lora_unet_", "text_encoder.": "lora_te1_", "text_encoder_2.": "lora_te2_"}
_OTHER_METHODS = {"hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "lora_mid": "Tucker LoCon", "oft_": "OFT"}


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


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA file that was read: its layers by kohya key."""

    path: Path
    layers: dict[str, LoraLayer]


def save(path: Path, adapter: Adapter, dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write the adapter as kohya's files are, atomically; the hashes are added to ``metadata``.

    ``<key>.lora_down.weight``, ``<key>.lora_up.weight`` in ``dtype``, ``<key>.alpha`` float32 without dimensions.

    Raises:
        TrainingError: a weight is NaN or infinite, or too large for ``dtype``; nothing is written.
    """
    tensors = {}
    for key, layer in adapter.layers().items():
        tensors[f"{key}.lora_down.weight"] = _stored(path, key, layer.down, dtype)
        tensors[f"{key}.lora_up.weight"] = _stored(path, key, layer.up, dtype)
        tensors[f"{key}.alpha"] = torch.tensor(layer.alpha)
    training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    complete = {**metadata, **hashes(serialise(tensors, training))}
    write_bytes(path, serialise(tensors, complete))


def read(path: Path) -> LoraWeights:
    """Read a LoRA made by kohya's scripts, by this trainer, by PEFT or diffusers.

    Keys of PEFT and diffusers become ``lora_unet_``, ``lora_te1_`` or ``lora_te2_`` and the path with underscores.
    Without an alpha the scale is 1.

    Raises:
        UserError: there is no such file, it is damaged, or no LoRA of this kind.
    """
    tensors, metadata = _open(path)
    matrices: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key, role = _parse(path, name)
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds values that are not numbers; its training failed, use another file.")
        matrices.setdefault(key, {})[role] = tensor
    if not matrices:
        raise UserError(f"{path}: the file is empty; choose a LoRA file.")
    return LoraWeights(path, {_kohya(key): _layer(path, key, found, metadata) for key, found in matrices.items()})


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


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such LoRA file; check the path.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: this is not a whole .safetensors file ({error}); fetch it again or choose another."
        ) from error


def _parse(path: Path, name: str) -> tuple[str, str]:
    """Split a tensor's name into its layer's key and ``down``, ``up`` or ``alpha``."""
    for part, method in _OTHER_METHODS.items():
        if part in name:
            raise UserError(f"{path}: this is a {method} file ({name}); only plain LoRA files can be continued.")
    if name.endswith(".alpha"):
        return name.removesuffix(".alpha"), "alpha"
    for down, up in _SUFFIXES:
        for suffix, role in ((down, "down"), (up, "up")):
            if name.endswith(suffix):
                return name.removesuffix(suffix), role
    raise UserError(f"{path}: this is no Stable Diffusion LoRA (it holds {name}); choose a LoRA file.")


def _kohya(key: str) -> str:
    for prefix, kohya in _DIFFUSERS_PREFIXES.items():
        if key.startswith(prefix):
            return kohya + key.removeprefix(prefix).replace(".", "_")
    return key


def _layer(path: Path, key: str, found: dict[str, Tensor], metadata: Mapping[str, str]) -> LoraLayer:
    down, up = found.get("down"), found.get("up")
    if down is None or up is None or min(down.dim(), up.dim()) < 2 or down.shape[0] != up.shape[1]:
        raise UserError(f"{path}: the layer {key} is not whole; fetch the file again or choose another.")
    alpha = found["alpha"].item() if "alpha" in found else _peft_alpha(path, key, down.shape[0], metadata)
    return LoraLayer(down, up, alpha)


def _peft_alpha(path: Path, key: str, rank: int, metadata: Mapping[str, str]) -> float:
    """diffusers keeps PEFT's config, one alpha a model, as JSON in the metadata; without it alpha is the rank."""
    text = metadata.get("lora_adapter_metadata", "{}")
    try:
        return float(json.loads(text).get(f"{key.partition('.')[0]}.lora_alpha", rank))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: lora_adapter_metadata does not tell the alpha; save the file again.") from error
