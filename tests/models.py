"""Tiny Stable Diffusion models of every family, with the real ones' structure, on disk as users have them.

All weights are random (fixed seed), biases and norms too, and exact in fp16, so that an fp16 file and an fp32 folder
hold the same numbers. Heads follow the real models' conventions: no yaml is needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_scripts_ext.base_models.checkpoint import to_original

FAMILIES = ("sd1", "sd2", "sdxl")
TOKENIZER = Path(__file__).parents[1] / "lora_scripts_ext" / "assets" / "clip_tokenizer"
VOCABULARY = 49408
TEXT_WIDTH = 64
POOLED_WIDTH = 32
SCALING = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}


@dataclass
class Parts:
    """The models of a tiny base model: frozen, float32, in eval mode."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: list[nn.Module]


def tiny_parts(family: str, seed: int = 0, mlp: int = 2) -> Parts:
    """UNet, VAE (pixels to latents: factor 2) and text encoders; the same numbers for the same seed.

    mlp: how many times wider the text encoders' feed-forward layers are.
    """
    texts = [_text_model("quick_gelu" if family != "sd2" else "gelu", False, mlp)]
    if family == "sdxl":
        texts.append(_text_model("gelu", True, mlp))
    parts = Parts(UNet2DConditionModel(**_unet_config(family)), _vae(family), texts)
    for index, model in enumerate((parts.unet, parts.vae, *parts.texts)):
        fill(model, torch.Generator().manual_seed(1000 * seed + index))
    return parts


def state_dicts(parts: Parts) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict[str, Tensor]]]:
    """The arguments of ``to_original``, without the family."""
    return parts.unet.state_dict(), parts.vae.state_dict(), [text.state_dict() for text in parts.texts]


def original_state(family: str, seed: int = 0, mlp: int = 2) -> dict[str, Tensor]:
    """A tiny checkpoint's tensors in the original layout, float32."""
    return to_original(*state_dicts(tiny_parts(family, seed, mlp)), family)


def write_checkpoint(
    path: Path,
    family: str,
    *,
    prediction_type: str | None = "epsilon",
    zero_terminal_snr: bool = False,
    seed: int = 0,
    mlp: int = 2,
) -> Path:
    """A tiny single-file checkpoint (fp16, original layout) at ``path``.

    Its prediction type is stored as in real files: in SDXL's by the empty marker tensors ``v_pred`` and ``ztsnr``, in
    the others by metadata. None stores none.
    """
    state = {name: tensor.half() for name, tensor in original_state(family, seed, mlp).items()}
    metadata = {"format": "pt"}
    if family == "sdxl":
        state.update({"v_pred": torch.empty(0)} if prediction_type == "v_prediction" else {})
        state.update({"ztsnr": torch.empty(0)} if zero_terminal_snr else {})
    else:
        metadata.update({"modelspec.prediction_type": prediction_type} if prediction_type else {})
        metadata.update({"ss_zero_terminal_snr": "True"} if zero_terminal_snr else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata)
    return path


def write_diffusers_folder(
    path: Path, family: str, *, prediction_type: str = "epsilon", zero_terminal_snr: bool = False, seed: int = 0
) -> Path:
    """The same tiny model (float32) as a diffusers folder at ``path``."""
    pipeline(family, prediction_type=prediction_type, zero_terminal_snr=zero_terminal_snr, seed=seed).save_pretrained(
        path, safe_serialization=True
    )
    return path


def pipeline(
    family: str, *, prediction_type: str = "epsilon", zero_terminal_snr: bool = False, seed: int = 0
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """diffusers' own pipeline of the tiny model, with an Euler scheduler."""
    parts = tiny_parts(family, seed)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_terminal_snr,
        timestep_spacing="trailing" if zero_terminal_snr else "linspace",
    )
    common = {"vae": parts.vae, "unet": parts.unet, "scheduler": scheduler, "text_encoder": parts.texts[0]}
    if family == "sdxl":
        pipe = StableDiffusionXLPipeline(
            **common,
            text_encoder_2=parts.texts[1],
            tokenizer=_tokenizer("<|endoftext|>"),
            tokenizer_2=_tokenizer("!"),
            add_watermarker=False,
        )
    else:
        pipe = StableDiffusionPipeline(
            **common,
            tokenizer=_tokenizer("<|endoftext|>" if family == "sd1" else "!"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def write_yaml(checkpoint: Path, params: dict) -> Path:
    """``NAME.yaml`` beside a checkpoint with these ``model.params`` (JSON is YAML)."""
    path = checkpoint.with_suffix(".yaml")
    path.write_text(json.dumps({"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}}))
    return path


def _unet_config(family: str) -> dict:
    """Two levels (SDXL three), attention as in the real ones: none in SD's last level, none in SDXL's first."""
    if family == "sdxl":
        return {
            "sample_size": 16,
            "layers_per_block": 2,
            "block_out_channels": (32, 64, 64),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 1, 1),
            "cross_attention_dim": 2 * TEXT_WIDTH,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": POOLED_WIDTH + 6 * 8,
        }
    return {
        "sample_size": 16,
        # As in the real ones: WebUIs count on it when they translate a LoRA's names.
        "layers_per_block": 2,
        "block_out_channels": (64, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 8 if family == "sd1" else (1, 1),
        "cross_attention_dim": TEXT_WIDTH,
        "use_linear_projection": family == "sd2",
    }


def _vae(family: str) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        sample_size=32,
        scaling_factor=SCALING[family],
    )


def _text_model(activation: str, projection: bool, mlp: int) -> nn.Module:
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=TEXT_WIDTH,
        intermediate_size=mlp * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=1,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=POOLED_WIDTH,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def _tokenizer(pad: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=pad)


@torch.no_grad()
def fill(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights of a size that keeps activations near 1; norms near 1, biases near 0, neither exactly."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            value = 0.1 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            value = noise * (0.1 if "embedding" in name else parameter[0].numel() ** -0.5)
        parameter.copy_(value.half())
    model.requires_grad_(False).eval()
