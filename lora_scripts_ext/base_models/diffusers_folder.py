"""A diffusers folder: ``unet``, ``vae``, ``text_encoder`` and so on, each with its config and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contract import PredictionType
from ..errors import UserError
from ..families.family import Family, TextEncoderLayout
from ..families.registry import FAMILIES, by_encoders, by_name
from ..models.clip import build_clip, build_projected_clip
from ..models.denoiser import Denoiser
from ..models.denoisers import DENOISERS
from ..models.diffusers_unet import UNet
from ..models.noise_schedule import Schedule
from ..models.safetensors_file import Shape, read_header
from ..models.t5 import build_t5, t5_sources
from ..models.vae import build_vae
from ..models.weights import Source
from .parts import Checkpoint, ModelPart
from .refusals import require_model_folder

_MODEL = ("diffusion_pytorch_model",)
_TEXT_MODEL = ("model", "pytorch_model")
# What diffusers called the VAE's attention before 0.15; folders of that time are still about.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TEXT_FOLDERS = ("text_encoder", "text_encoder_2")
# What CLIP's and T5's configs call their models.
_CLIP, _T5 = ("clip_text_model", "clip"), ("t5",)


def read_folder(path: Path, family: str = "auto") -> Checkpoint:
    """Read the configs and headers of a diffusers folder.

    Raises:
        UserError: something is missing, damaged, or no text-to-image model that can be trained.
    """
    require_model_folder(path)
    denoiser = _denoiser(path)
    unet = _denoiser_part(path / denoiser.folder, denoiser)
    known = _family(path, denoiser, unet) if family == "auto" else by_name(family)
    if known.denoiser != denoiser.class_name or known.has_time_ids != (
        unet.config.get("addition_embed_type") == "text_time"
    ):
        raise UserError(f"{path}: model_family is {known.name}, which this model is not; set model_family: auto.")
    texts = [
        _text_part(path / folder, f"text encoder {number}", layout)
        for number, (folder, layout) in enumerate(zip(_TEXT_FOLDERS, known.text_encoders, strict=False), 1)
    ]
    vae = _vae_part(path / "vae")
    cells = unet.config.get("sample_size")
    factor = 2 ** (_levels(path / "vae", vae) - 1)
    prediction, schedule = (
        ("flow", Schedule()) if known.has_flow else _schedule(path / "scheduler" / "scheduler_config.json")
    )
    return Checkpoint(
        path=path,
        family=known.name,
        unet=unet,
        vae=vae,
        texts=tuple(texts),
        schedule=schedule,
        prediction_type=prediction or ("epsilon" if known.epsilon_by_default else None),
        scaling_factor=_number(path / "vae" / "config.json", vae.config, "scaling_factor", 0.18215),
        shift_factor=float(vae.config.get("shift_factor") or 0.0),
        tokenizers=tuple(_tokenizer(path / name) for name in ("tokenizer", "tokenizer_2")[: len(texts)]),
        side=cells * factor if isinstance(cells, int) else None,
    )


def _denoiser(path: Path) -> Denoiser[Any]:
    """The kind of the folder's denoiser; where several have a folder of this name, its class decides."""
    candidates = [one for one in DENOISERS.values() if (path / one.folder / "config.json").is_file()]
    for one in candidates:
        if _class_of(path / one.folder, one.class_name) == one.class_name:
            return one
    folder = path / candidates[0].folder
    raise UserError(
        f"{folder}: this is a {_class_of(folder, '')}, expected {' or '.join(one.class_name for one in candidates)}; "
        "take another model."
    )


def _class_of(folder: Path, stock: str) -> str:
    return str(_read_json(folder / "config.json").get("_class_name", stock))


def _denoiser_part(folder: Path, denoiser: Denoiser[Any]) -> ModelPart:
    raw_config = _read_json(folder / "config.json")
    denoiser.require_trainable(folder.parent, raw_config)
    files, shapes = _tensors(folder, _MODEL)
    try:
        config = denoiser.folder_config(raw_config)
        sources = denoiser.folder_sources([_modern(name) for name in shapes], config)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: the {denoiser.title} is not built as it should be ({error}); download the model again."
        ) from error
    originals = {_modern(name): name for name in shapes}
    return ModelPart(denoiser.title, denoiser.build, config, _renamed(sources, originals), shapes, files)


def _renamed(sources: Mapping[str, Source], names: Mapping[str, str]) -> dict[str, Source]:
    """``sources`` with the tensors of the files called as ``names`` says."""
    return {
        name: replace(
            source, name=names.get(source.name, source.name), below=tuple(names.get(one, one) for one in source.below)
        )
        for name, source in sources.items()
    }


def _vae_part(folder: Path) -> ModelPart:
    config = _read_json(folder / "config.json")
    kind = config.get("_class_name", "AutoencoderKL")
    if kind != "AutoencoderKL":
        raise UserError(f"{folder}: this is a {kind}, expected AutoencoderKL; take another model.")
    files, shapes = _tensors(folder, _MODEL)
    return ModelPart("VAE", build_vae, config, {_modern(name): Source(name) for name in shapes}, shapes, files)


def _text_part(folder: Path, name: str, layout: TextEncoderLayout) -> ModelPart:
    config = _read_json(folder / "config.json")
    expected, title = (_T5, "a T5 encoder") if layout.t5 else (_CLIP, "a CLIP text model")
    kind = config.get("model_type", expected[0])
    if kind not in expected:
        raise UserError(f"{folder}: this is a {kind}, expected {title}; take another model.")
    files, shapes = _tensors(folder, _TEXT_MODEL)
    if layout.t5:
        return ModelPart(name, build_t5, config, t5_sources(shapes), shapes, files)
    sources = {tensor: Source(tensor) for tensor in shapes if not tensor.endswith(".position_ids")}
    return ModelPart(name, build_projected_clip if layout.projection else build_clip, config, sources, shapes, files)


def _tensors(folder: Path, stems: tuple[str, ...]) -> tuple[tuple[Path, ...], dict[str, Shape]]:
    """The files with weights, and the shapes of the tensors in them."""
    files = _weights(folder, stems)
    return files, {tensor: shape for file in files for tensor, shape in read_header(file).shapes.items()}


def _levels(folder: Path, vae: ModelPart) -> int:
    channels = vae.config.get("block_out_channels")
    if not isinstance(channels, list) or not channels:
        raise UserError(f"{folder / 'config.json'}: block_out_channels is missing; download the model again.")
    return len(channels)


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
    weight_map = _read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not all(isinstance(name, str) for name in weight_map.values())
        or not weight_map
    ):
        raise UserError(f"{index}: weight_map, which names the files, is missing; download the model again.")
    files = [index.parent / name for name in sorted(set(weight_map.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{index.parent}: {len(missing)} of the {len(files)} files of this model are missing (the first is "
            f"{missing[0]}); download the model again."
        )
    return tuple(files)


def _family(path: Path, denoiser: Denoiser[Any], unet: ModelPart) -> Family:
    """The family with this kind of denoiser. Of those with a UNet, SDXL has a second text encoder; SD2's is
    open_clip's, with its own activation."""
    if denoiser.class_name != UNet.class_name:
        return next(family for family in FAMILIES if family.denoiser == denoiser.class_name)
    if unet.config.get("addition_embed_type") == "text_time":
        if not (path / "text_encoder").is_dir() and (path / "text_encoder_2").is_dir():
            raise UserError(f"{path}: this is the SDXL refiner; give the SDXL base model.")
        return by_encoders([False, True])
    return by_encoders([_read_json(path / "text_encoder" / "config.json").get("hidden_act") == "gelu"])


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
    return folder if any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")) else None


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
