"""The trained pocket model written as one half-precision file in the original Stable Diffusion v1 layout."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from lora_scripts_ext import files
from lora_scripts_ext.base_models.checkpoint import to_original
from pocket.diffusion import Pair


def describe(pair: Pair, model: AutoencoderKL, factor: float) -> dict:
    """The inference config in the original layout, the content of ``NAME.yaml`` beside a checkpoint."""
    unet, first = pair.unet.config, model.config
    channels, firsts = unet.block_out_channels, first.block_out_channels
    side = unet.sample_size
    attended = [2**level for level, kind in enumerate(unet.down_block_types) if kind.startswith("CrossAttn")]
    return {
        "base_learning_rate": 1e-4,
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "num_timesteps_cond": 1,
            "log_every_t": 200,
            "timesteps": 1000,
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": side,
            "channels": unet.in_channels,
            "cond_stage_trainable": False,
            "conditioning_key": "crossattn",
            "scale_factor": round(factor, 6),
            "use_ema": False,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": side,
                    "in_channels": unet.in_channels,
                    "out_channels": unet.out_channels,
                    "model_channels": channels[0],
                    "attention_resolutions": attended,
                    "num_res_blocks": unet.layers_per_block,
                    "channel_mult": [width // channels[0] for width in channels],
                    "num_heads": unet.attention_head_dim,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": unet.cross_attention_dim,
                    "use_checkpoint": False,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": first.latent_channels,
                    "monitor": "val/rec_loss",
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": first.latent_channels,
                        "resolution": first.sample_size,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": firsts[0],
                        "ch_mult": [width // firsts[0] for width in firsts],
                        "num_res_blocks": first.layers_per_block,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "torch.nn.Identity"},
                },
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                "params": {"version": "text"},
            },
        },
    }


def write(pair: Pair, model: AutoencoderKL, factor: float, path: Path) -> None:
    """Write ``NAME.safetensors`` (half precision) to *path* with ``NAME.yaml`` and ``text/config.json`` beside it.

    factor: what unit-spread latents were multiplied with.
    """
    texts = {name: part for name, part in pair.text_encoder.state_dict().items() if not name.endswith("position_ids")}
    tensors = to_original(pair.unet.state_dict(), model.state_dict(), [texts], "sd1")
    with files.replacing(path) as temporary:
        save_file({name: tensor.to(torch.float16) for name, tensor in tensors.items()}, temporary, {"format": "pt"})
    settings = yaml.safe_dump({"model": describe(pair, model, factor)}, sort_keys=False)
    files.write_text(path.with_suffix(".yaml"), settings)
    files.write_text(path.parent / "text" / "config.json", pair.text_encoder.config.to_json_string())


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files to where the checkpoint's config looks for them."""
    for file in sorted(source.iterdir()):
        files.write_bytes(target / file.name, file.read_bytes())
