"""The tiny models of ``tests.models`` as a WebUI loads them: a checkpoint with the ``.yaml`` that has its sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks import models as real
from lora_scripts_ext.base_models.checkpoint import to_original
from lora_scripts_ext.models.tokenizer import SHIPPED
from tests import models

ARCHITECTURES = {"sd2": "lora-trainer-tiny-sd2", "sdxl": "lora-trainer-tiny-sdxl"}
LAYERS = 3
_SHORT = {
    "block_out_channels": (320, 320),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
WIDE_UNETS = {
    "sd1": {**_SHORT, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {**_SHORT, "cross_attention_dim": 1024, "attention_head_dim": (5, 5), "use_linear_projection": True},
    # As deep as the real one, which Forge looks at, but no wider than its first level.
    "sdxl": {**real.UNETS["sdxl"], "block_out_channels": (320, 320, 320), "attention_head_dim": (5, 5, 5)},
}
_CLIP_L = (CLIPTextModel, {**real.CLIP_L, "hidden_act": "quick_gelu"})
_CLIP_H = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "hidden_act": "gelu",
}  # fmt: skip
WIDE_TEXTS = {
    "sd1": [_CLIP_L],
    "sd2": [(CLIPTextModel, _CLIP_H)],
    "sdxl": [_CLIP_L, (CLIPTextModelWithProjection, real.CLIP_G)],
}
MLP = 4  # open_clip knows no other


def write(folder: Path, family: str, inpainting: bool = False, deep_vae: bool = False) -> Path:
    """A tiny checkpoint of *family* in *folder*, its yaml, and what its text encoders need beside it; ``deep_vae``:
    with eight pixels a latent cell, as in real ones."""
    path = models.write_checkpoint(folder / f"tiny_{family}.safetensors", family, mlp=MLP)
    text = folder / "text"
    shutil.copytree(models.TOKENIZER, text, dirs_exist_ok=True)
    (text / "config.json").write_text(models.tiny_parts("sd1", mlp=MLP).texts[0].config.to_json_string())
    if family in ARCHITECTURES:
        write_open_clip(folder / "open_clip", family)
    config = sdxl(text) if family == "sdxl" else sd(family, text)
    if inpainting:
        _take_a_mask(path)
        config["params"]["conditioning_key"] = "hybrid"
        config["params"]["unet_config"]["params"]["in_channels"] = 9
    if deep_vae:
        _deepen_vae(path, family)
        config["params"]["first_stage_config"]["params"]["ddconfig"]["ch_mult"] = [1, 2, 2, 2]
    # JSON is YAML.
    path.with_suffix(".yaml").write_text(json.dumps({"model": config}))
    return path


def write_wide(folder: Path, family: str, inpainting: bool = False) -> Path:
    """A checkpoint as Forge recognises them, by their widths: text encoders and VAE of real size, a short UNet."""
    unet = UNet2DConditionModel(layers_per_block=2, **WIDE_UNETS[family])
    texts = [
        kind(CLIPTextConfig(bos_token_id=49406, eos_token_id=49407, **values)) for kind, values in WIDE_TEXTS[family]
    ]
    parts = [unet, AutoencoderKL(**real.VAE), *texts]
    for index, part in enumerate(parts):
        models.fill(part, torch.Generator().manual_seed(index))
    states = [part.half().state_dict() for part in parts]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"wide_{family}.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in to_original(*states[:2], states[2:], family).items()}
    save_file(tensors, path, {"modelspec.prediction_type": "epsilon"})
    if inpainting:
        _take_a_mask(path)
    return path


def write_full(folder: Path, webui: Path, kind: str) -> Path:
    """An SD1.5 of real size; for A1111 with its inference yaml, which would look for the text encoder on a hub."""
    path = real.write_checkpoint(folder / "full_sd1.safetensors", "sd1")
    if kind != "a1111":
        return path
    text = folder / "text"
    shutil.copytree(SHIPPED, text)
    (text / "config.json").write_text(CLIPTextConfig(**real.CLIP_L).to_json_string())
    config = yaml.safe_load((webui / "configs" / "v1-inference.yaml").read_text(encoding="utf-8"))
    config["model"]["params"]["cond_stage_config"]["params"] = {"version": str(text)}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _take_a_mask(path: Path) -> None:
    """Make an inpainting model of a plain one: one channel more for the mask, four for the masked image."""
    tensors = load_file(path)
    name = "model.diffusion_model.input_blocks.0.0.weight"
    first = tensors[name]
    tensors[name] = torch.cat([first, first[:, :1], torch.zeros_like(first)], 1)
    save_file(tensors, path)


def _deepen_vae(path: Path, family: str) -> None:
    """Give the checkpoint a VAE of four levels."""
    parts = models.tiny_parts(family, mlp=MLP)
    config = {**parts.vae.config, "block_out_channels": (32, 64, 64, 64)}
    config |= {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    parts.vae = AutoencoderKL.from_config(config)
    models.fill(parts.vae, torch.Generator().manual_seed(1))
    vae = {name: x for name, x in to_original(*models.state_dicts(parts), family).items() if "first_stage" in name}
    kept = {name: tensor for name, tensor in load_file(path).items() if "first_stage" not in name}
    save_file(kept | {name: tensor.half().contiguous() for name, tensor in vae.items()}, path)


def write_open_clip(folder: Path, family: str) -> None:
    """The config of a small open_clip model, under a name of its own."""
    folder.mkdir(exist_ok=True)
    # SD2's file has one layer more than is used, and a projection that is not used at all.
    text = {"width": models.TEXT_WIDTH, "heads": 1, "layers": LAYERS + (family == "sd2"), "vocab_size": 49408}
    config = {
        "embed_dim": models.TEXT_WIDTH if family == "sd2" else models.POOLED_WIDTH,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, **text},
    }
    (folder / f"{ARCHITECTURES[family]}.json").write_text(json.dumps(config))


def sd(family: str, text: Path) -> dict[str, Any]:
    """The inference config of SD1 or SD2."""
    unet = {
        "image_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "attention_resolutions": [1],
        "num_res_blocks": 2,
        "channel_mult": [1, 1],
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": models.TEXT_WIDTH,
        "use_checkpoint": False,
        "legacy": False,
    }
    if family == "sd1":
        unet["num_heads"] = 8
        text_config = {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder", "params": {"version": str(text)}}
    else:
        unet.update({"num_head_channels": 64, "use_linear_in_transformer": True})
        text_config = {
            "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {"arch": ARCHITECTURES[family], "freeze": True, "layer": "penultimate"},
        }
    return {
        "base_learning_rate": 1e-4,
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "num_timesteps_cond": 1,
            "log_every_t": 200,
            "timesteps": 1000,
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": 64,
            "channels": 4,
            "cond_stage_trainable": False,
            "conditioning_key": "crossattn",
            "scale_factor": models.SCALING[family],
            "use_ema": False,
            "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": unet},
            "first_stage_config": first_stage("ldm.models.autoencoder.AutoencoderKL"),
            "cond_stage_config": text_config,
        },
    }


def sdxl(text: Path) -> dict[str, Any]:
    """The inference config of SDXL."""
    sgm = "sgm.modules.diffusionmodules"
    unet = {
        "adm_in_channels": models.POOLED_WIDTH + 6 * 8,
        "num_classes": "sequential",
        "use_checkpoint": False,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "attention_resolutions": [4, 2],
        "num_res_blocks": 2,
        "channel_mult": [1, 2, 2],
        "num_head_channels": 64,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "transformer_depth": [1, 1, 2],
        "context_dim": 2 * models.TEXT_WIDTH,
        "spatial_transformer_attn_type": "softmax-xformers",
        "legacy": False,
    }
    return {
        "target": "sgm.models.diffusion.DiffusionEngine",
        "params": {
            "scale_factor": models.SCALING["sdxl"],
            "disable_first_stage_autocast": True,
            "denoiser_config": {
                "target": f"{sgm}.denoiser.DiscreteDenoiser",
                "params": {
                    "num_idx": 1000,
                    "weighting_config": {"target": f"{sgm}.denoiser_weighting.EpsWeighting"},
                    "scaling_config": {"target": f"{sgm}.denoiser_scaling.EpsScaling"},
                    "discretization_config": {"target": f"{sgm}.discretizer.LegacyDDPMDiscretization"},
                },
            },
            "network_config": {"target": f"{sgm}.openaimodel.UNetModel", "params": unet},
            "conditioner_config": conditioner(text),
            "first_stage_config": first_stage("sgm.models.autoencoder.AutoencoderKLInferenceWrapper"),
        },
    }


def conditioner(text: Path) -> dict[str, Any]:
    """SDXL's two text encoders and the embedders of its sizes."""
    encoders = "sgm.modules.encoders.modules"
    first = {"version": str(text), "layer": "hidden", "layer_idx": LAYERS - 1}
    second = {
        "arch": ARCHITECTURES["sdxl"],
        "version": None,
        "freeze": True,
        "layer": "penultimate",
        "always_return_pooled": True,
        "legacy": False,
    }
    embedders = [("txt", "FrozenCLIPEmbedder", first), ("txt", "FrozenOpenCLIPEmbedder2", second)]
    sizes = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
    embedders += [(key, "ConcatTimestepEmbedderND", {"outdim": 8}) for key in sizes]
    return {
        "target": "sgm.modules.GeneralConditioner",
        "params": {
            "emb_models": [
                {"is_trainable": False, "input_key": key, "target": f"{encoders}.{name}", "params": params}
                for key, name, params in embedders
            ]
        },
    }


def first_stage(target: str) -> dict[str, Any]:
    """The VAE: two levels, one residual block each."""
    return {
        "target": target,
        "params": {
            "embed_dim": 4,
            "monitor": "val/rec_loss",
            "ddconfig": {
                "attn_type": "vanilla",
                "double_z": True,
                "z_channels": 4,
                "resolution": 32,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 32,
                "ch_mult": [1, 2],
                "num_res_blocks": 1,
                "attn_resolutions": [],
                "dropout": 0.0,
            },
            "lossconfig": {"target": "torch.nn.Identity"},
        },
    }
