"""Files that are something else than a base model: said in one sentence instead of a failure later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import UserError
from .weights import Shape

_TAKE = "give the checkpoint of a full Stable Diffusion 1, 2 or XL model."
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_CHANNELS = {
    5: "a depth-to-image model (5 input channels); give the plain text-to-image version.",
    8: "an InstructPix2Pix model (8 input channels); give the plain text-to-image version.",
    9: "an inpainting model (9 input channels); give the plain text-to-image version.",
}


def _has(*parts: str) -> Callable[[str], bool]:
    return lambda name: any(part in name for part in parts)


def _starts(*heads: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(heads)


# Told by any tensor name; the first that fits counts.
_OTHERS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (
        _has(".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".hada_w1", ".lokr_w1", ".lora.up."),
        f"a LoRA, not a base model; {_TAKE} A LoRA to continue from belongs in init_lora.",
    ),
    (
        _has("double_blocks.", "double_stream_modulation"),
        f"a Flux model, which is trained inside Forge; open the LoRA Trainer tab there, or {_TAKE}",
    ),
    (_has("joint_blocks.", "joint_transformer"), f"a Stable Diffusion 3 model, which is not supported; {_TAKE}"),
    (_has("edm_mean", "edm_vpred.sigma"), f"a model of the EDM kind, which is not supported; {_TAKE}"),
    (_starts("conditioner.embedders.0.model."), "the SDXL refiner; give the SDXL base model."),
    (_starts("cond_stage_model.roberta."), f"AltDiffusion, which is not supported; {_TAKE}"),
    (_starts("embedder.model.", "noise_augmentor."), f"a Stable unCLIP model, which is not supported; {_TAKE}"),
    (_starts("depth_model."), _CHANNELS[5]),
    (_starts("control_model.", "controlnet_", "lllite_"), f"a ControlNet, not a base model; {_TAKE}"),
    (_has("down_blocks."), f"one part of a diffusers model; give the folder that holds model_index.json, or {_TAKE}"),
)


def require_base_model(path: Path, shapes: Mapping[str, Shape]) -> None:
    """Refuse a safetensors file that holds no plain text-to-image model with VAE and text encoder.

    Raises:
        UserError: says what it holds instead.
    """
    for fits, what in _OTHERS:
        if any(fits(name) for name in shapes):
            raise UserError(f"{path}: this file is {what}")
    if _FIRST not in shapes:
        raise UserError(f"{path}: this file holds no Stable Diffusion UNet; {_TAKE}")
    if what := _CHANNELS.get(shapes[_FIRST][1]):
        raise UserError(f"{path}: this file is {what}")
    if not any(name.startswith("first_stage_model.decoder.") for name in shapes):
        raise UserError(f"{path}: this file has no VAE; give the version of the checkpoint with the VAE baked in.")
    if not any(name.startswith(("cond_stage_model.", "conditioner.embedders.")) for name in shapes):
        raise UserError(f"{path}: this file has no text encoder; {_TAKE}")
