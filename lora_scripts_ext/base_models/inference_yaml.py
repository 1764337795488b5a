"""``NAME.yaml`` beside a checkpoint: what an ldm or sgm inference config adds to the tensors.

The WebUI builds the model by this file. Here shapes already say nearly all, so only what they cannot say is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ..contract import PredictionType
from ..errors import UserError
from ..families.family import Heads
from ..models.noise_schedule import Schedule

# Every stock config says 64, also that of the 768-pixel SD2 model: it tells nothing.
STOCK_LATENT_SIDE = 64


@dataclass(frozen=True)
class InferenceYaml:
    """What the file says; None where it says nothing.

    Attributes:
        text_folders: for each text encoder, a folder with a CLIP ``config.json`` and tokenizer files.
        latent_side: cells along one side of the latents the model was trained at.
    """

    heads: Heads | None = None
    prediction_type: PredictionType | None = None
    scaling_factor: float | None = None
    schedule: Schedule = field(default_factory=Schedule)
    text_folders: tuple[Path | None, ...] = (None, None)
    latent_side: int | None = None


def read_inference_yaml(checkpoint: Path) -> InferenceYaml:
    """Read ``NAME.yaml`` beside ``NAME.safetensors``; without one everything is left to the tensors.

    Raises:
        UserError: the file is no inference config, or a value in it is not a number where one belongs.
    """
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return InferenceYaml()
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8-sig"))["model"]["params"]
        return _parse(dict(params), path.parent)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: this is not an inference config of {checkpoint.name} ({type(error).__name__}: {error}); "
            "correct it, or move it away to have the model detected from the checkpoint."
        ) from error


def _parse(params: dict[str, Any], folder: Path) -> InferenceYaml:
    unet = _params(params, "unet_config", "network_config")
    side = params.get("image_size")
    return InferenceYaml(
        heads=_heads(unet),
        prediction_type=_prediction(params),
        scaling_factor=float(params["scale_factor"]) if "scale_factor" in params else None,
        schedule=_schedule(params),
        text_folders=_text_folders(params, folder),
        latent_side=int(side) if side and side != STOCK_LATENT_SIDE else None,
    )


def _params(params: dict[str, Any], *names: str) -> dict[str, Any]:
    section: dict[str, Any] = next((params[name] for name in names if params.get(name)), {})
    return dict(section.get("params") or {})


def _heads(unet: dict[str, Any]) -> Heads | None:
    """ldm writes -1 for the one of the two that is not used."""
    count, channels = int(unet.get("num_heads", -1)), int(unet.get("num_head_channels", -1))
    if channels > 0:
        return Heads(channels=channels)
    return Heads(count=count) if count > 0 else None


def _prediction(params: dict[str, Any]) -> PredictionType | None:
    """``parameterization: v`` in ldm; in sgm the class that scales the denoiser, ``VScaling`` or ``EpsScaling``."""
    if "parameterization" in params:
        return "v_prediction" if params["parameterization"] == "v" else "epsilon"
    scaling = _params(params, "denoiser_config").get("scaling_config", {}).get("target", "")
    if scaling:
        return "v_prediction" if "VScaling" in scaling else "epsilon"
    # ldm's own default for a config that has betas but no parameterization is epsilon.
    return "epsilon" if "linear_start" in params else None


def _schedule(params: dict[str, Any]) -> Schedule:
    stock = Schedule()
    return replace(
        stock,
        beta_start=float(params.get("linear_start", stock.beta_start)),
        beta_end=float(params.get("linear_end", stock.beta_end)),
        timesteps=int(params.get("timesteps", stock.timesteps)),
    )


def _text_folders(params: dict[str, Any], folder: Path) -> tuple[Path | None, ...]:
    embedders = [_params(params, "cond_stage_config")]
    if "conditioner_config" in params:
        embedders = [dict(model.get("params") or {}) for model in _params(params, "conditioner_config")["emb_models"]]
    folders = [folder / str(embedder["version"]) if "version" in embedder else None for embedder in embedders]
    # Stock configs name a model of the hub, which is no folder here.
    config_folders = [path if path and (path / "config.json").is_file() else None for path in folders]
    return tuple([*config_folders, None, None][:2])
