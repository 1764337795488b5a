"""The original layout: our conversion against diffusers' own, there and back, at tiny and at real size."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks import models as real
from lora_scripts_ext.base_models.checkpoint import to_diffusers, to_original
from lora_scripts_ext.families.registry import by_name
from lora_scripts_ext.models.unet import unet_config
from lora_scripts_ext.models.vae import vae_config

from . import models


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_there_and_back_is_exact(family):
    unet, vae, texts = models.state_dicts(models.tiny_parts(family))
    back = to_diffusers(to_original(unet, vae, texts, family))
    assert same(back["unet"], unet)
    assert same(back["vae"], vae)
    for name, text in zip(("te1", "te2"), texts, strict=False):
        assert same(back[name], text)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_diffusers_reads_our_file_to_the_same_weights(family):
    parts = models.tiny_parts(family)
    original = models.original_state(family)
    assert same(theirs.convert_ldm_unet_checkpoint(dict(original), parts.unet.config), parts.unet.state_dict())
    assert same(theirs.convert_ldm_vae_checkpoint(dict(original), parts.vae.config), parts.vae.state_dict())
    first, second = parts.texts[0], parts.texts[-1]
    if family == "sd2":
        read = theirs.convert_open_clip_checkpoint(first, dict(original), prefix="cond_stage_model.model.")
        read = {name: read[name] for name in first.state_dict()}
    else:
        read = theirs.convert_ldm_clip_checkpoint(dict(original))
        read = {name: tensor for name, tensor in read.items() if name.startswith("text_model.")}
    assert same(read, first.state_dict())
    if family == "sdxl":
        read = theirs.convert_open_clip_checkpoint(second, dict(original), prefix="conditioner.embedders.1.model.")
        assert same(read, second.state_dict())


def test_old_sd1_names_and_leftovers_are_read():
    original = models.original_state("sd1")
    prefix = "cond_stage_model.transformer."
    old = {name.replace(f"{prefix}text_model.", prefix): tensor for name, tensor in original.items()}
    old[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]
    old["cond_stage_model.logit_scale"] = torch.ones(())
    assert same(to_diffusers(old)["te1"], to_diffusers(original)["te1"])


def test_vae_attention_is_a_convolution_in_the_original():
    assert models.original_state("sd1")["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (64, 64, 1, 1)


def meta(model, config):
    with torch.device("meta"):
        return model(config) if isinstance(config, CLIPTextConfig) else model(**config)


@pytest.mark.parametrize(("family", "unet_count", "count"), [("sd1", 686, 1130), ("sdxl", 1680, 2513)])
def test_real_size_has_the_known_tensors(family, unet_count, count):
    """The files of SD1.5 (1131 model tensors) and SDXL base (2515) hold besides these only CLIP's position numbers and,
    for SDXL, open_clip's logit scale."""
    unet = meta(UNet2DConditionModel, real.UNETS[family])
    texts = [meta(CLIPTextModel, CLIPTextConfig(**real.CLIP_L))]
    if family == "sdxl":
        texts.append(meta(CLIPTextModelWithProjection, CLIPTextConfig(**real.CLIP_G)))
    vae = meta(AutoencoderKL, real.VAE)
    original = to_original(unet.state_dict(), vae.state_dict(), [text.state_dict() for text in texts], family)
    assert len(original) == count
    shapes = {
        name.removeprefix("model.diffusion_model."): tuple(tensor.shape)
        for name, tensor in original.items()
        if name.startswith("model.diffusion_model.")
    }
    assert len(shapes) == unet_count
    read = unet_config(shapes, by_name(family).heads)
    heads = (8, 8, 8, 8) if family == "sd1" else (5, 10, 20)
    assert tuple(read["attention_head_dim"]) == heads
    for key in ("block_out_channels", "down_block_types", "up_block_types", "layers_per_block", "cross_attention_dim"):
        assert _plain(read[key]) == _plain(unet.config[key])
    depth = unet.config.transformer_layers_per_block
    assert tuple(read["transformer_layers_per_block"]) == (depth if isinstance(depth, tuple) else (depth,) * 4)
    inside = {name.removeprefix("first_stage_model."): tuple(tensor.shape) for name, tensor in original.items()}
    assert tuple(vae_config(inside)["block_out_channels"]) == real.VAE["block_out_channels"]


def _plain(value):
    return list(value) if isinstance(value, tuple | list) else value


def test_pocket_sized_vae_is_read():
    """Three levels, 64, 64 and 128 channels: factor 4."""
    config = {
        "block_out_channels": (64, 64, 128),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "latent_channels": 4,
    }
    parts = models.tiny_parts("sd1")
    vae = AutoencoderKL(**config)
    original = to_original(parts.unet.state_dict(), vae.state_dict(), [parts.texts[0].state_dict()], "sd1")
    assert same(to_diffusers(original)["vae"], vae.state_dict())
