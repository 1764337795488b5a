"""Full-size Stable Diffusion checkpoints with random weights: as large and as slow as real ones."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_scripts_ext.base_models.checkpoint import to_original

UNETS = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}


def write_checkpoint(path: Path, family: str) -> Path:
    """Write a full-size random checkpoint of ``family`` (sd1 or sdxl), fp16, in the original layout; kept if there."""
    if path.exists():
        return path
    torch.manual_seed(0)
    unet = UNet2DConditionModel(in_channels=4, out_channels=4, **UNETS[family])
    texts: list[nn.Module] = [CLIPTextModel(CLIPTextConfig(**CLIP_L))]
    if family == "sdxl":
        texts.append(CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_G)))
    parts = [_half(model) for model in (unet, AutoencoderKL(**VAE), *texts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    state = to_original(parts[0], parts[1], parts[2:], family)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def _half(model: nn.Module) -> dict[str, torch.Tensor]:
    return model.half().state_dict()
