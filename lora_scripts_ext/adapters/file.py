"""The LoRA file: .safetensors with kohya keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from .. import finite
from ..base_models.kinds import kind_of, method_of
from ..errors import TrainingError, UserError
from ..files import write_bytes
from ..models.safetensors_file import read_header
from . import dialects, peft_config
from .dialects import Role
from .file_metadata import hashes
from .lora_weights import LoraLayer, LoraWeights
from .methods.method import FileLayer
from .peft_config import PeftConfig

_CHECKPOINT = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")
_FOLDER_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")


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
    """Read a LoRA of kohya's scripts, this trainer, PEFT, diffusers, ComfyUI or ai-toolkit.

    ``path`` is a file, or a folder as PEFT or diffusers save one. The keys become ``lora_unet_``, ``lora_te1_`` or
    ``lora_te2_`` and the path with underscores. Without an alpha the scale is 1; PEFT's is in ``adapter_config.json``.

    Raises:
        UserError: there is no such file, it is damaged, or no LoRA of this kind.
    """
    layers: dict[str, LoraLayer] = {}
    for file in _files(path):
        for key, layer in _read_file(file).items():
            if key in layers:
                raise UserError(f"{file}: the layer {key} occurs twice, under two names; choose another LoRA file.")
            layers[key] = layer
    return LoraWeights(path, layers)


def _files(path: Path) -> list[Path]:
    """The LoRA's files: itself, or what a folder of PEFT (one a model) or diffusers holds."""
    if not path.is_dir():
        return [path]
    folders = [path, *(path / name for name in ("unet", "text_encoder", "text_encoder_2"))]
    files = [folder / name for folder in folders for name in _FOLDER_FILES if (folder / name).is_file()]
    if files:
        return files
    if any((folder / "adapter_model.bin").is_file() for folder in folders):
        raise UserError(
            f"{path}: the LoRA in this folder is adapter_model.bin, a pickle, which can run code when it is loaded; "
            "save it with safe_serialization=True."
        )
    others = sorted(entry.name for entry in path.glob("*.safetensors"))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(f"{path}: this is a folder; give the path of the LoRA file itself ({others[0]}{more}).")
    raise UserError(f"{path}: this folder holds no LoRA; give the path of a .safetensors file.")


def _read_file(path: Path) -> dict[str, LoraLayer]:
    tensors, metadata = _open(path)
    matrices_by_layer = _grouped(path, tensors)
    configs = _configs(path, matrices_by_layer, metadata)
    layers: dict[str, LoraLayer] = {}
    for name, matrices in matrices_by_layer.items():
        config = configs.get("" if dialects.is_peft(name) else name.partition(".")[0])
        key = dialects.kohya(name, _text_encoder(path, config))
        if key in layers:
            raise UserError(f"{path}: the layer {key} occurs twice, under two names; choose another LoRA file.")
        layers[key] = _layer(path, name, matrices, config)
    return layers


def _grouped(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[Role, Tensor]]:
    """The tensors of each layer, by its path as the file has it."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if method := method_of(shapes):
        raise UserError(f"{path}: this is {method.what} file; only plain LoRA files can be continued.")
    by_layer: dict[str, dict[Role, Tensor]] = {}
    for name, tensor in tensors.items():
        parsed = dialects.split(name)
        if parsed is None:
            raise UserError(f"{path}: this is not a LoRA, {_what_else(name, shapes)}; choose a LoRA file.")
        if not math.isfinite(finite.largest(tensor)):
            raise UserError(f"{path}: {name} holds NaN or infinity; its training failed, choose another file.")
        layer, role = parsed
        by_layer.setdefault(layer, {})[role] = tensor
    if not by_layer:
        raise UserError(f"{path}: the file is empty; choose a LoRA file.")
    return by_layer


def _configs(path: Path, names: Iterable[str], metadata: Mapping[str, str]) -> dict[str, PeftConfig]:
    """PEFT's configurations, by the model that names start with; under an empty name for files of PEFT itself."""
    configs = peft_config.from_metadata(path, metadata.get("lora_adapter_metadata", "{}"))
    if any(dialects.is_peft(name) for name in names):
        configs[""] = peft_config.read_config(path.parent / peft_config.FILE)
    return configs


def _text_encoder(path: Path, config: PeftConfig | None) -> Literal["te1", "te2"]:
    """Which text encoder a file of PEFT is for, by the class it was trained on or its folder."""
    second = config is not None and config.base_class == "CLIPTextModelWithProjection"
    return "te2" if second or path.parent.name == "text_encoder_2" else "te1"


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
    if not path.exists():
        raise UserError(f"{path}: there is no such LoRA file; check the path.")
    metadata = read_header(path).metadata
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: this safetensors file cannot be read ({error}); download it again or choose another."
        ) from error


def _what_else(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file with a tensor that is of no LoRA is."""
    if not any(dialects.split(other) for other in shapes) and any(other.startswith(_CHECKPOINT) for other in shapes):
        return "but a checkpoint, which belongs in base_model"
    kind = kind_of(shapes)
    if kind is None or kind.what.startswith("a LoRA"):
        return f"it holds {name}"
    return f"but {kind.what.removesuffix(', not a base model')} ({name})"


def _layer(path: Path, name: str, matrices: Mapping[Role, Tensor], config: PeftConfig | None) -> LoraLayer:
    down, up, alpha = matrices.get("down"), matrices.get("up"), matrices.get("alpha")
    if down is None or up is None or min(down.dim(), up.dim()) < 2 or down.shape[0] != up.shape[1]:
        raise UserError(f"{path}: the layer {name} is incomplete; download the file again or choose another.")
    if alpha is not None and alpha.numel() != 1:
        raise UserError(f"{path}: the alpha of {name} is not one number; download the file again or choose another.")
    rank = down.shape[0]
    if alpha is not None:
        value = float(alpha.item())
    elif config is not None:
        value = config.alpha_of(dialects.module_path(name), rank)
    else:
        value = float(rank)
    return LoraLayer(down.float(), up.float(), value)
