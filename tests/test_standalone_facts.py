"""What is read from a checkpoint: family, prediction type, noise schedule, heads, hash."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from safetensors.torch import load_file, save_file

from lora_scripts_ext.base_models.checkpoint import read_checkpoint
from lora_scripts_ext.config import Config
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.models.noise_schedule import Schedule
from lora_scripts_ext.models.weights import sha256

from . import models


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A single file of each family, without metadata."""
    folder = tmp_path_factory.mktemp("bases")
    return {f: models.write_checkpoint(folder / f"{f}.safetensors", f, prediction_type=None) for f in models.FAMILIES}


def read(path, **keys):
    return read_checkpoint(Config(base_model=str(path), **keys))


def with_metadata(path, target, metadata):
    save_file(load_file(path), target, metadata)
    return target


@pytest.mark.parametrize("family", models.FAMILIES)
def test_family_and_defaults(bases, family):
    checkpoint = read(bases[family])
    assert checkpoint.family == family
    assert checkpoint.prediction_type == (None if family == "sd2" else "epsilon")
    assert not checkpoint.schedule.zero_terminal_snr
    assert checkpoint.scaling_factor == models.SCALING[family]
    assert checkpoint.vae_factor == 2
    assert checkpoint.resolution("epsilon") == {"sd1": 512, "sd2": 512, "sdxl": 1024}[family]
    assert checkpoint.name == family


@pytest.mark.parametrize("key", ["modelspec.prediction_type", "modelspec.predict_key"])
def test_metadata_has_the_prediction_type(bases, tmp_path, key):
    checkpoint = read(with_metadata(bases["sd2"], tmp_path / "v.safetensors", {key: "v"}))
    assert checkpoint.prediction_type == "v_prediction"
    assert checkpoint.resolution("v_prediction") == 768
    assert read(with_metadata(bases["sd2"], tmp_path / "e.safetensors", {key: "epsilon"})).prediction_type == "epsilon"


def test_sdxl_marker_tensors(tmp_path):
    path = models.write_checkpoint(
        tmp_path / "xl.safetensors", "sdxl", prediction_type="v_prediction", zero_terminal_snr=True
    )
    checkpoint = read(path)
    assert checkpoint.prediction_type == "v_prediction" and checkpoint.schedule.zero_terminal_snr


def test_prediction_type_is_read_from_the_scheduler_of_a_folder(tmp_path):
    path = models.write_diffusers_folder(tmp_path / "m", "sd2", prediction_type="v_prediction", zero_terminal_snr=True)
    checkpoint = read(path)
    assert checkpoint.prediction_type == "v_prediction" and checkpoint.schedule.zero_terminal_snr


def test_config_has_the_last_word(bases):
    checkpoint = read(bases["sd1"], prediction_type="v_prediction", zero_terminal_snr=True)
    assert checkpoint.prediction_type == "v_prediction" and checkpoint.schedule.zero_terminal_snr


def test_yaml_beside_the_checkpoint(bases, tmp_path):
    path = tmp_path / "m.safetensors"
    shutil.copy(bases["sd1"], path)
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(models.TOKENIZER, tokenizer)
    text_config = {"num_attention_heads": 2, "hidden_act": "gelu"}
    (tokenizer / "config.json").write_text(json.dumps({"text_config": text_config}))
    params = {
        "parameterization": "v",
        "linear_start": 0.001,
        "linear_end": 0.02,
        "scale_factor": 0.5,
        "image_size": 16,
        "unet_config": {"params": {"num_heads": 4}},
        "cond_stage_config": {"params": {"version": "tokenizer"}},
    }
    models.write_yaml(path, params)
    checkpoint = read(path)
    assert checkpoint.prediction_type == "v_prediction"
    assert checkpoint.schedule == Schedule(beta_start=0.001, beta_end=0.02)
    assert checkpoint.scaling_factor == 0.5
    assert checkpoint.resolution("v_prediction") == 32
    assert checkpoint.unet.config["attention_head_dim"] == [4, 4]
    assert checkpoint.texts[0].config["num_attention_heads"] == 2
    assert checkpoint.texts[0].config["hidden_act"] == "gelu"
    assert checkpoint.tokenizers == (tokenizer,)


def test_sgm_yaml(bases, tmp_path):
    path = tmp_path / "m.safetensors"
    shutil.copy(bases["sdxl"], path)
    denoiser = {"params": {"scaling_config": {"target": "sgm.modules.diffusionmodules.denoiser_scaling.VScaling"}}}
    network = {"params": {"num_head_channels": 32}}
    models.write_yaml(path, {"denoiser_config": denoiser, "network_config": network, "scale_factor": 0.13025})
    checkpoint = read(path)
    assert checkpoint.prediction_type == "v_prediction"
    assert checkpoint.unet.config["attention_head_dim"] == [1, 2, 2]


def test_alphas_cumprod_are_diffusers():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    plain, rescaled = Schedule().alphas_cumprod(), Schedule(zero_terminal_snr=True).alphas_cumprod()
    torch.testing.assert_close(plain, torch.cumprod(1 - betas, 0), rtol=1e-4, atol=1e-6)
    theirs = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)
    torch.testing.assert_close(rescaled, theirs, rtol=1e-3, atol=1e-6)
    assert plain.dtype == rescaled.dtype == torch.float32
    assert rescaled[-1] == 0 and rescaled[0] == plain[0]


def returning_its_input(state):
    """Make a UNet's original tensors predict epsilon: pure noise goes through the first skip connection to the output,
    as silu(x) - silu(-x) = x."""
    for name, tensor in state.items():
        if name.startswith("model.diffusion_model.") and "out.0" not in name:
            tensor.zero_()
    unet = {name.removeprefix("model.diffusion_model."): tensor for name, tensor in state.items()}
    last = 1 + max(int(name.split(".")[1]) for name in unet if name.startswith("output_blocks.")) - 1
    skip = unet[f"output_blocks.{last}.0.skip_connection.weight"]
    width = skip.shape[0]
    for channel in range(4):
        for sign, offset in ((1, 0), (-1, 4)):
            # One channel a norm group of two: the other is zero, so the group only scales it.
            wide = 2 * (channel + offset)
            unet["input_blocks.0.0.weight"][wide, channel, 1, 1] = sign
            skip[wide, skip.shape[1] - width + wide, 0, 0] = 1
            unet["out.2.weight"][channel, wide, 1, 1] = sign
    unet["out.0.weight"].fill_(1)
    unet["out.0.bias"].zero_()


def opened_prediction(path, **keys):
    with StandaloneHost().open(Config(base_model=str(path), device="cpu", **keys)) as session:
        return session.model


def test_the_prediction_type_of_an_sd2_model_without_metadata_is_measured(bases, tmp_path):
    model = opened_prediction(bases["sd2"])
    assert (model.prediction_type, model.resolution) == ("v_prediction", 768)
    state = load_file(bases["sd2"])
    returning_its_input(state)
    save_file(state, tmp_path / "eps.safetensors")
    model = opened_prediction(tmp_path / "eps.safetensors")
    assert (model.prediction_type, model.resolution) == ("epsilon", 512)
    assert opened_prediction(tmp_path / "eps.safetensors", prediction_type="v_prediction").resolution == 768


def test_hash_of_a_file_and_of_files(bases, tmp_path):
    content = bases["sd1"].read_bytes()
    assert sha256([bases["sd1"]]) == hashlib.sha256(content).hexdigest()
    (tmp_path / "x").write_bytes(b"x")
    assert sha256([bases["sd1"], tmp_path / "x"]) == hashlib.sha256(content + b"x").hexdigest()


@pytest.mark.parametrize("family", models.FAMILIES)
def test_inspection_reads_no_weight(bases, family):
    outlined = inspect(Config(base_model=str(bases[family]), device="cpu"))
    parts = models.tiny_parts(family)
    assert outlined.sizes["unet"].parameters == sum(p.numel() for p in parts.unet.parameters())
    assert outlined.sizes["te1"].bytes == 4 * outlined.sizes["te1"].parameters
    assert set(outlined.sizes) == {"unet", "vae", "te1", *(["te2"] if family == "sdxl" else [])}
    assert all(target.module.weight.is_meta for target in outlined.targets)
    with StandaloneHost().open(Config(base_model=str(bases[family]), device="cpu")) as session:
        loaded = [(target.key, target.module.weight.shape) for target in session.targets()]
    assert [(target.key, target.module.weight.shape) for target in outlined.targets] == loaded
