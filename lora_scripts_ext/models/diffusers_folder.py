"""A diffusers folder: ``unet``, ``vae``, ``text_encoder`` and so on, each with its config and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contract import FamilyName, PredictionType
from ..errors import UserError
from ..families.registry import by_encoders, by_name
from .noise_schedule import Schedule
from .parts import Checkpoint, Kind, ModelPart
from .refusals import require_model_folder
from .safetensors_file import read_header
from .weights import Source

_WEIGHTS: dict[Kind, tuple[str, ...]] = {
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
    "text": ("model", "pytorch_model"),
    "text_with_projection": ("model", "pytorch_model"),
}
# What diffusers called the VAE's attention before 0.15; folders of that time are still about.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TEXT_FOLDERS = ("text_encoder", "text_encoder_2")
_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}


def read_folder(path: Path, family: str = "auto") -> Checkpoint:
    """Read the configs and headers of a diffusers folder.

    Raises:
        UserError: something is missing, damaged, or no Stable Diffusion 1, 2 or XL text-to-image model.
    """
    require_model_folder(path)
    unet = _part(path / "unet", "UNet", "unet")
    if unet.config.get("time_cond_proj_dim") is not None:
        raise UserError(
            f"{path}: this is a Latent Consistency Model (LCM), distilled to few steps and no guidance; give the model "
            "that it was distilled from."
        )
    if unet.config.get("in_channels", 4) != 4:
        raise UserError(
            f"{path}: this is an inpainting, depth or editing model ({unet.config['in_channels']} input channels); "
            "give the plain text-to-image version."
        )
    known = _family(path, unet) if family == "auto" else family
    kind = by_name(known)
    if kind.has_time_ids != (unet.config.get("addition_embed_type") == "text_time"):
        raise UserError(f"{path}: model_family is {known}, which this model is not; set model_family: auto.")
    texts = [
        _part(path / folder, f"text encoder {number}", "text_with_projection" if layout.projection else "text")
        for number, (folder, layout) in enumerate(zip(_TEXT_FOLDERS, kind.text_encoders, strict=False), 1)
    ]
    vae = _part(path / "vae", "VAE", "vae")
    cells = unet.config.get("sample_size")
    factor = 2 ** (_levels(path / "vae", vae) - 1)
    prediction, schedule = _schedule(path / "scheduler" / "scheduler_config.json")
    return Checkpoint(
        path=path,
        family=known,
        unet=unet,
        vae=vae,
        texts=tuple(texts),
        schedule=schedule,
        prediction_type=prediction or ("epsilon" if kind.epsilon_by_default else None),
        scaling_factor=_number(path / "vae" / "config.json", vae.config, "scaling_factor", 0.18215),
        tokenizers=tuple(_tokenizer(path / name) for name in ("tokenizer", "tokenizer_2")[: len(texts)]),
        side=cells * factor if isinstance(cells, int) else None,
    )


def _levels(folder: Path, vae: ModelPart) -> int:
    channels = vae.config.get("block_out_channels")
    if not isinstance(channels, list) or not channels:
        raise UserError(f"{folder / 'config.json'}: block_out_channels is missing; download the model again.")
    return len(channels)


def _part(folder: Path, name: str, kind: Kind) -> ModelPart:
    config = _read_json(folder / "config.json")
    if kind in _CLASSES and config.get("_class_name", _CLASSES[kind]) != _CLASSES[kind]:
        raise UserError(f"{folder}: this is a {config['_class_name']}, expected {_CLASSES[kind]}; take another model.")
    if kind not in _CLASSES and config.get("model_type", "clip_text_model") not in ("clip_text_model", "clip"):
        raise UserError(f"{folder}: this is a {config['model_type']}, expected a CLIP text model; take another model.")
    files = _weights(folder, _WEIGHTS[kind])
    shapes = {tensor: shape for file in files for tensor, shape in read_header(file).shapes.items()}
    sources = {_modern(tensor): Source(tensor) for tensor in shapes if not tensor.endswith(".position_ids")}
    return ModelPart(name, kind, config, sources, shapes, files)


def _weights(folder: Path, stems: tuple[str, ...]) -> tuple[Path, ...]:
    """The safetensors files: one, or the shards that an index names, or a variant such as fp16."""
    for stem in stems:
        if (whole := folder / f"{stem}.safetensors").is_file():
            return (whole,)
        if (index := folder / f"{stem}.safetensors.index.json").is_file():
            return _shards(index)
        if variants := sorted(folder.glob(f"{stem}.*.safetensors")):
            return (variants[0],)
    if pickles := sorted(folder.glob("*.bin")):
        raise UserError(
            f"{folder}: the weights are there as {pickles[0].name} only, a pickle, which can run code when it is "
            "loaded; download the .safetensors version of this model, or convert it."
        )
    raise UserError(f"{folder}: there is no {stems[0]}.safetensors in this folder; download the model again.")


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, all of them there."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()) or not places:
        raise UserError(f"{index}: weight_map, which names the files, is missing; download the model again.")
    files = [index.parent / name for name in sorted(set(places.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{index.parent}: {len(missing)} of the {len(files)} files of this model are missing (the first is "
            f"{missing[0]}); download the model again."
        )
    return tuple(files)


def _family(path: Path, unet: ModelPart) -> FamilyName:
    """SDXL has a second text encoder; SD2's is open_clip's, with its own activation."""
    if unet.config.get("addition_embed_type") == "text_time":
        if not (path / "text_encoder").is_dir() and (path / "text_encoder_2").is_dir():
            raise UserError(f"{path}: this is the SDXL refiner; give the SDXL base model.")
        return by_encoders([False, True]).name
    return by_encoders([_read_json(path / "text_encoder" / "config.json").get("hidden_act") == "gelu"]).name


def _schedule(path: Path) -> tuple[PredictionType | None, Schedule]:
    """What the scheduler's config says; without one, nothing and the usual schedule."""
    if not path.is_file():
        return None, Schedule()
    config = _read_json(path)
    prediction = config.get("prediction_type", "epsilon")
    shape = config.get("beta_schedule", "scaled_linear")
    if prediction not in ("epsilon", "v_prediction") or shape not in ("scaled_linear", "linear"):
        raise UserError(
            f"{path}: prediction_type {prediction} with beta_schedule {shape} cannot be trained here; "
            "expected epsilon or v_prediction, and scaled_linear or linear."
        )
    stock = Schedule()
    return prediction, replace(
        stock,
        beta_start=_number(path, config, "beta_start", stock.beta_start),
        beta_end=_number(path, config, "beta_end", stock.beta_end),
        beta_schedule=shape,
        timesteps=int(_number(path, config, "num_train_timesteps", stock.timesteps)),
        zero_terminal_snr=bool(config.get("rescale_betas_zero_snr", False)),
    )


def _number(path: Path, config: Mapping[str, Any], key: str, stock: float) -> float:
    value = config.get(key, stock)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UserError(f"{path}: {key} is {value!r}, expected a number above 0; download the model again.")
    return float(value)


def _modern(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
        parts[-2] = _OLD_ATTENTION[parts[-2]]
    return ".".join(parts)


def _tokenizer(folder: Path) -> Path | None:
    return folder if (folder / "vocab.json").is_file() else None


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: this file is missing from the diffusers folder; download the model again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: this file cannot be read ({error}); download the model again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; download the model again.")
    return content
