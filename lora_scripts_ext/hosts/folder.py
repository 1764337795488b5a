"""A diffusers folder: ``unet``, ``vae``, ``text_encoder`` and so on, each with its config and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from .base import Family, PredictionType
from .parts import Checkpoint, Kind, ModelPart
from .schedule import Schedule
from .weights import Source, read_header

_WEIGHTS: dict[Kind, tuple[str, ...]] = {
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
    "text": ("model", "pytorch_model"),
    "text_with_projection": ("model", "pytorch_model"),
}
# What diffusers called the VAE's attention before 0.15; folders of that time are still about.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}


def read_folder(path: Path, family: str = "auto") -> Checkpoint:
    """Read the configs and headers of a diffusers folder.

    Raises:
        UserError: something is missing, damaged, or no Stable Diffusion 1, 2 or XL text-to-image model.
    """
    if not (path / "unet" / "config.json").is_file():
        raise UserError(
            f"{path}: this is no diffusers folder of a Stable Diffusion model, unet/config.json is not in it; "
            "give the folder that holds model_index.json, or a .safetensors checkpoint."
        )
    unet = _part(path / "unet", "UNet", "unet")
    if unet.config.get("in_channels", 4) != 4:
        raise UserError(
            f"{path}: this is an inpainting, depth or editing model ({unet.config['in_channels']} input channels); "
            "give the plain text-to-image version."
        )
    known = _family(path, unet) if family == "auto" else family
    texts = [_part(path / "text_encoder", "text encoder 1", "text")]
    if known == "sdxl":
        texts.append(_part(path / "text_encoder_2", "text encoder 2", "text_with_projection"))
    vae = _part(path / "vae", "VAE", "vae")
    cells = unet.config.get("sample_size")
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    prediction, schedule = _schedule(path / "scheduler" / "scheduler_config.json")
    return Checkpoint(
        path=path,
        family=known,
        unet=unet,
        vae=vae,
        texts=tuple(texts),
        schedule=schedule,
        prediction_type=prediction or (None if known == "sd2" else "epsilon"),
        scaling_factor=float(vae.config.get("scaling_factor", 0.18215)),
        tokenizers=tuple(_tokenizer(path / name) for name in ("tokenizer", "tokenizer_2")[: len(texts)]),
        side=cells * factor if isinstance(cells, int) else None,
    )


def _part(folder: Path, name: str, kind: Kind) -> ModelPart:
    config = _read_json(folder / "config.json")
    if config.get("_class_name", _CLASSES.get(kind)) != _CLASSES.get(kind):
        raise UserError(f"{folder}: this is a {config['_class_name']}, expected {_CLASSES[kind]}; take another model.")
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
            return tuple(folder / name for name in sorted(set(_read_json(index)["weight_map"].values())))
        if variants := sorted(folder.glob(f"{stem}.*.safetensors")):
            return (variants[0],)
    if pickles := sorted(folder.glob("*.bin")):
        read_header(pickles[0])
    raise UserError(f"{folder}: there is no {stems[0]}.safetensors in this folder; download the model again.")


def _family(path: Path, unet: ModelPart) -> Family:
    """SDXL has a second text encoder; SD2's is open_clip's, with its own activation."""
    if unet.config.get("addition_embed_type") == "text_time":
        if not (path / "text_encoder").is_dir():
            raise UserError(f"{path}: this is the SDXL refiner; give the SDXL base model.")
        return "sdxl"
    return "sd2" if _read_json(path / "text_encoder" / "config.json").get("hidden_act") == "gelu" else "sd1"


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
        beta_start=float(config.get("beta_start", stock.beta_start)),
        beta_end=float(config.get("beta_end", stock.beta_end)),
        beta_schedule=shape,
        timesteps=int(config.get("num_train_timesteps", stock.timesteps)),
        zero_terminal_snr=bool(config.get("rescale_betas_zero_snr", False)),
    )


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
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: this file cannot be read ({error}); download the model again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; download the model again.")
    return content
