"""What is no base model, or not a whole one, is refused in one sentence that names the file and the remedy."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_scripts_ext.config import Config
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.inspection import inspect

from . import models


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp("base") / "sd1.safetensors", "sd1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.write_diffusers_folder(tmp_path_factory.mktemp("base") / "sd1", "sd1")


def refusal(path, **keys):
    with pytest.raises(UserError) as caught:
        inspect(Config(base_model=str(path), device="cpu", **keys))
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.safetensors")
    assert "not downloaded" in refusal("someone/some-model")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickles_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x04")
    said = refusal(path)
    assert "run code" in said and ".safetensors" in said


def test_cut_off_file(tmp_path, checkpoint):
    path = tmp_path / "half.safetensors"
    path.write_bytes(checkpoint.read_bytes()[:1_000_000])
    assert "download it again" in refusal(path)


def test_web_page_saved_as_safetensors(tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("<!DOCTYPE html><html>Please log in</html>")
    assert "download it again" in refusal(path)


NAMES = {
    "LoRA": "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
    "Flux": "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
    "Stable Diffusion 3": "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
    "refiner": "conditioner.embedders.0.model.ln_final.weight",
    "ControlNet": "control_model.input_blocks.0.0.weight",
    "diffusers": "down_blocks.0.resnets.0.conv1.weight",
    "no Stable Diffusion UNet": "something.weight",
}


@pytest.mark.parametrize("what", NAMES)
def test_other_models_are_named(tmp_path, what):
    path = tmp_path / "other.safetensors"
    save_file({NAMES[what]: torch.zeros(4, 4)}, path)
    assert what in refusal(path)


def changed(tmp_path, checkpoint, change):
    state = load_file(checkpoint)
    change(state)
    path = tmp_path / "changed.safetensors"
    save_file(state, path)
    return path


def without(prefix):
    def change(state):
        for name in [name for name in state if name.startswith(prefix)]:
            del state[name]

    return change


def test_inpainting(tmp_path, checkpoint):
    first = "model.diffusion_model.input_blocks.0.0.weight"
    path = changed(tmp_path, checkpoint, lambda state: state.update({first: torch.zeros(64, 9, 3, 3)}))
    assert "inpainting" in refusal(path)


def test_no_vae(tmp_path, checkpoint):
    assert "VAE" in refusal(changed(tmp_path, checkpoint, without("first_stage_model.")))


def test_no_text_encoder(tmp_path, checkpoint):
    assert "text encoder" in refusal(changed(tmp_path, checkpoint, without("cond_stage_model.")))


def test_a_missing_tensor_is_named(tmp_path, checkpoint):
    said = refusal(changed(tmp_path, checkpoint, without("model.diffusion_model.middle_block.0.in_layers.2.bias")))
    assert "mid_block.resnets.0.conv1.bias is missing" in said


def test_an_unknown_tensor_is_named(tmp_path, checkpoint):
    name = "model.diffusion_model.middle_block.9.weight"
    assert "middle_block.9" in refusal(changed(tmp_path, checkpoint, lambda state: state.update({name: torch.ones(1)})))


def test_wrong_family(checkpoint):
    assert "model_family" in refusal(checkpoint, model_family="sdxl")


def test_wrong_vocabulary(tmp_path, checkpoint):
    shutil.copytree(models.TOKENIZER, tmp_path / "words")
    vocabulary = json.loads((tmp_path / "words" / "vocab.json").read_text(encoding="utf-8"))
    del vocabulary["hello</w>"]
    numbered = {token: number for number, token in enumerate(vocabulary)}
    (tmp_path / "words" / "vocab.json").write_text(json.dumps(numbered), encoding="utf-8")
    assert "49407 tokens" in refusal(checkpoint, text_model_dir=str(tmp_path / "words"))
    assert "vocab.json" in refusal(checkpoint, text_model_dir=str(tmp_path))


def test_unknown_device(checkpoint):
    with pytest.raises(UserError, match="auto"):
        inspect(Config(base_model=str(checkpoint), device="tpu"))


def test_folder_without_unet(tmp_path):
    assert "unet/config.json" in refusal(tmp_path)


def test_folder_with_pickled_weights(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "run code" in refusal(copy)


def test_folder_with_a_part_missing(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(copy / "vae")
    assert "vae/config.json" in refusal(copy).replace("\\", "/")


def test_damaged_yaml(tmp_path, checkpoint):
    copy = shutil.copy(checkpoint, tmp_path / "model.safetensors")
    (tmp_path / "model.yaml").write_text("model: [1, 2]")
    assert "model.yaml" in refusal(copy)
