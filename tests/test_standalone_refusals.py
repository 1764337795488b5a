"""What is no base model, or not a whole one, is refused in one sentence that names the file and the remedy."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_scripts_ext.base_models.refusals import distilled, warnings_on_file
from lora_scripts_ext.config import Config
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect

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
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.safetensors")
    assert "not downloaded" in refusal("someone/some-model")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickles_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x04")
    message = refusal(path)
    assert "run code" in message and ".safetensors" in message


def test_truncated_file(tmp_path, checkpoint):
    path = tmp_path / "half.safetensors"
    path.write_bytes(checkpoint.read_bytes()[:1_000_000])
    message = refusal(path)
    assert "cut off, 1,000,000 of its" in message and "download it again" in message


CONTENTS = {
    "a web page": b"<!DOCTYPE html><html>Please log in</html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n",
    "the file is empty": b"",
    "a GGUF file": b"GGUF\x03\x00\x00\x00",
    "a pickle (.ckpt or .pt) under another name": b"PK\x03\x04" + bytes(26) + b"archive/data.pkl",
    "a pickle": b"\x80\x02}q\x00",
    "a zip archive": b"PK\x03\x04" + bytes(26) + b"photos/a.png",
    "a text file": b'{"error": "not found"}',
    "an image": b"\x89PNG\r\n\x1a\n",
    "download it again": bytes(64),
    "not a whole safetensors file": (8).to_bytes(8, "little") + b"[1, 2]  ",
    "not a whole": (22).to_bytes(8, "little") + b'{"a": {"dtype": "F16"}}',
}


@pytest.mark.parametrize("what", CONTENTS)
def test_what_is_saved_under_the_name_of_a_model(tmp_path, what):
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENTS[what])
    message = refusal(path)
    assert what in message and str(path) in message


def test_a_gguf_by_its_own_name(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "quantised" in refusal(path)
    assert "no such file" in refusal(tmp_path / "none.gguf")


NAMES = {
    "LoRA": "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
    "no text encoder clip_l": "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
    "Stable Diffusion 3": "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
    "refiner": "conditioner.embedders.0.model.ln_final.weight",
    "ControlNet": "control_model.input_blocks.0.0.weight",
    "diffusers": "down_blocks.0.resnets.0.conv1.weight",
    "no Stable Diffusion UNet": "something.weight",
    "name files with them in clip_l and t5xxl and vae": "double_blocks.0.img_attn.qkv.weight",
    "in diffusers' names": "transformer.single_transformer_blocks.0.attn.to_q.weight",
    "Flux 2": "double_stream_modulation_img.lin.weight",
    "HunyuanVideo": "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.weight",
    "Stable Diffusion 3 or 3.5": "joint_blocks.37.x_block.attn2.qkv.weight",
    "Z-Image": "model.diffusion_model.cap_pad_token",
    "Lumina": "cap_embedder.0.weight",
    "Qwen-Image": "transformer_blocks.0.img_mod.1.weight",
    "PixArt": "y_embedder.y_proj.fc1.weight",
    "LTX-Video": "model.diffusion_model.patchify_proj.weight",
    "Stable Cascade": "clip_txt_mapper.weight",
    "Cosmos": "net.blocks.0.self_attn.q_proj.weight",
    "Stable Video": "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight",
    "EDM": "edm_mean",
    "LoHa": "lora_unet_x.hada_w1_a",
    "LoKr": "lora_unet_x.lokr_w1",
    "DoRA": "lora_unet_x.dora_scale",
    "OFT": "lora_unet_x.oft_blocks",
    "a LoRA": "base_model.model.down_blocks.0.to_q.lora_A.weight",
    "init_lora": "unet.down_blocks.0.attn1.processor.to_q_lora.down.weight",
    "textual inversion": "emb_params",
    "a textual inversion": "clip_g",
    "upscaler": "model.1.sub.0.RDB1.conv1.0.weight",
    "IP-Adapter": "ip_adapter.1.to_k_ip.weight",
    "AnimateDiff": "down_blocks.0.motion_modules.0.norm.weight",
    "nf4": "model.diffusion_model.input_blocks.1.1.proj_in.weight.absmax",
    "scaled fp8": "model.diffusion_model.scaled_fp8",
    "(scaled fp8)": "model.diffusion_model.input_blocks.1.1.proj_in.scale_weight",
    "quantised (scaled": "model.diffusion_model.input_blocks.1.1.proj_in.comfy_quant",
    "Latent Consistency Model": "model.diffusion_model.time_embed.cond_proj.weight",
    "(LCM)": "time_embedding.cond_proj.weight",
    "UNet of a Stable Diffusion model alone": "input_blocks.0.0.weight",
    "the UNet of a model": "diffusion_model.input_blocks.0.0.weight",
    "UNet of a diffusers": "down_blocks.0.resnets.0.norm1.weight",
    "a VAE alone": "first_stage_model.encoder.conv_in.weight",
    "VAE alone": "decoder.conv_in.weight",
    "encoder alone": "text_model.encoder.layers.0.mlp.fc1.weight",
    "text or image encoder": "encoder.block.0.layer.0.SelfAttention.q.weight",
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


def test_a_diffusers_model_in_one_file(tmp_path):
    names = ("unet.conv_in.weight", "vae.encoder.conv_in.weight", "text_encoder.text_model.final_layer_norm.weight")
    save_file({name: torch.zeros(4) for name in names}, tmp_path / "all.safetensors")
    assert "a diffusers model in one file" in refusal(tmp_path / "all.safetensors")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp("base") / "sdxl.safetensors", "sdxl")


@pytest.mark.parametrize(
    ("prefix", "missing"),
    [
        ("conditioner.embedders.1.", "no second text encoder, of the two that SDXL has"),
        ("conditioner.embedders.0.", "no first text encoder, of the two that SDXL has"),
        ("conditioner.", "no text encoder;"),
        ("first_stage_model.", "no VAE;"),
        ("first_stage_model.encoder.", "no encoder in its VAE"),
        ("first_stage_model.decoder.", "no decoder in its VAE"),
    ],
)
def test_parts_that_an_sdxl_file_lacks(tmp_path, sdxl, prefix, missing):
    assert missing in refusal(changed(tmp_path, sdxl, without(prefix)))


def test_a_unet_without_the_rest(tmp_path, checkpoint):
    def change(state):
        without("cond_stage_model.")(state)
        without("first_stage_model.")(state)

    assert "no text encoder and no VAE" in refusal(changed(tmp_path, checkpoint, change))


def test_integer_weights_are_quantised(tmp_path, checkpoint):
    name = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    path = changed(tmp_path, checkpoint, lambda state: state.update({name: state[name].to(torch.int8)}))
    assert "quantised (I8)" in refusal(path)


def eight_bits(state):
    for name, tensor in state.items():
        if name.startswith("model.diffusion_model.") and tensor.ndim > 1:
            state[name] = tensor.to(torch.float8_e4m3fn)


def test_plain_fp8_is_used_with_a_warning(tmp_path, checkpoint):
    path = changed(tmp_path, checkpoint, eight_bits)
    config = Config(base_model=str(path), device="cpu", output_dir=str(tmp_path / "out"))
    with StandaloneHost().open(config) as session:
        loaded = session.parts()["UNet"].conv_in.weight
        warnings = session.model.warnings
    stored = load_file(path)["model.diffusion_model.input_blocks.0.0.weight"]
    assert stored.dtype == torch.float8_e4m3fn
    assert loaded.dtype == torch.float32 and torch.equal(loaded, stored.float())
    assert len(warnings) == 1 and "stored in 8 bits (F8_E4M3)" in warnings[0]
    assert warnings_on_file(path) == warnings


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("sd_xl_turbo_1.0_fp16", "turbo"),
        ("SDXLTurbo", "turbo"),
        ("dreamshaperXL_lightningDPMSDE", "lightning"),
        ("Realistic_Vision_V6.0_B1_Hyper", "hyper"),
        ("realisticVisionV60_v51HyperVAE", "hyper"),
        ("LCM_Dreamshaper_v7", "lcm"),
        ("hyper realistic", None),
        ("hyperrealism_v3", None),
        ("lcmodel", None),
        ("realisticVision", None),
        ("", None),
    ],
)
def test_names_of_distilled_models(name, word):
    assert distilled(name) == word


def test_a_distilled_model_is_used_with_a_warning(tmp_path, checkpoint):
    path = shutil.copy(checkpoint, tmp_path / "dream_turbo.safetensors")
    (warning,) = inspect(Config(base_model=str(path), device="cpu")).warnings
    assert "says turbo, a model distilled" in warning
    assert warnings_on_file(path) == (warning,)
    assert warnings_on_file(path.with_suffix(".ckpt")) == ()


def test_a_file_name_that_suggests_v_prediction(tmp_path, checkpoint):
    path = shutil.copy(checkpoint, tmp_path / "dream-vpred.safetensors")
    assert not inspect(Config(base_model=str(path), device="cpu", prediction_type="v_prediction")).warnings
    (warning,) = inspect(Config(base_model=str(path), device="cpu")).warnings
    assert "the name says v-prediction" in warning


def test_no_vae(tmp_path, checkpoint):
    assert "VAE" in refusal(changed(tmp_path, checkpoint, without("first_stage_model.")))


def test_no_text_encoder(tmp_path, checkpoint):
    assert "text encoder" in refusal(changed(tmp_path, checkpoint, without("cond_stage_model.")))


def test_a_missing_tensor_is_named(tmp_path, checkpoint):
    message = refusal(changed(tmp_path, checkpoint, without("model.diffusion_model.middle_block.0.in_layers.2.bias")))
    assert "mid_block.resnets.0.conv1.bias is missing" in message


def test_an_unknown_tensor_is_named(tmp_path, checkpoint):
    name = "model.diffusion_model.middle_block.9.weight"
    assert "middle_block.9" in refusal(changed(tmp_path, checkpoint, lambda state: state.update({name: torch.ones(1)})))


def test_wrong_family(checkpoint):
    assert "model_family" in refusal(checkpoint, model_family="sdxl")


def test_wrong_vocabulary(tmp_path, checkpoint):
    shutil.copytree(models.TOKENIZER, tmp_path / "my-clip")
    vocabulary = json.loads((tmp_path / "my-clip" / "vocab.json").read_text(encoding="utf-8"))
    del vocabulary["hello</w>"]
    numbered = {token: number for number, token in enumerate(vocabulary)}
    (tmp_path / "my-clip" / "vocab.json").write_text(json.dumps(numbered), encoding="utf-8")
    assert "49407 tokens" in refusal(checkpoint, text_model_dir=str(tmp_path / "my-clip"))
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


def test_folder_with_shards_missing(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    index = copy / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}))
    assert "2 of the 2 files of this model are missing (the first is x-1.safetensors)" in refusal(copy)
    index.write_text("{}")
    assert "weight_map" in refusal(copy)


FOLDERS = {
    "FluxFillPipeline, which is not supported": ("model_index.json", {"_class_name": "FluxFillPipeline"}),
    "StableDiffusionInpaintPipeline, which is": ("model_index.json", {"_class_name": "StableDiffusionInpaintPipeline"}),
    "holds a LoRA of PEFT": ("adapter_config.json", {}),
    "the model is further down": ("snapshots/abc/model_index.json", {}),
    "name the file itself (brand.safetensors)": ("brand.safetensors", {}),
    "unet/config.json or transformer/config.json is not in it": ("README.json", {}),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_folders_that_are_something_else(tmp_path, what):
    name, content = FOLDERS[what]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(json.dumps(content))
    assert what in refusal(tmp_path)


CHANGES = {
    "Latent Consistency Model": ("unet/config.json", {"time_cond_proj_dim": 256}),
    "block_out_channels is missing": ("vae/config.json", {"block_out_channels": None}),
    "scaling_factor is 'x'": ("vae/config.json", {"scaling_factor": "x"}),
    "describes no model": ("unet/config.json", {"block_out_channels": "wide"}),
    "beta_start is 'x'": ("scheduler/scheduler_config.json", {"beta_start": "x"}),
    "this is a t5, expected a CLIP text model": ("text_encoder/config.json", {"model_type": "t5"}),
    "this is a AsymmetricAutoencoderKL": ("vae/config.json", {"_class_name": "AsymmetricAutoencoderKL"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_configs_of_a_folder(tmp_path, folder, what):
    copy = shutil.copytree(folder, tmp_path / "model")
    name, change = CHANGES[what]
    path = copy / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}))
    assert what in refusal(copy)


def test_a_part_of_a_folder(folder):
    assert "give the folder above" in refusal(folder / "unet")


def test_wrong_family_of_a_folder(folder):
    assert "set model_family: auto" in refusal(folder, model_family="sdxl")


@pytest.mark.parametrize("content", ["{", "[]", "", "3", '"x"', '{"a": "b"}'])
def test_damaged_tokenizer_files(tmp_path, checkpoint, content):
    shutil.copytree(models.TOKENIZER, tmp_path / "my-clip")
    (tmp_path / "my-clip" / "vocab.json").write_text(content)
    assert "my-clip" in refusal(checkpoint, text_model_dir=str(tmp_path / "my-clip"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"#version\nonly-one-word\n", b"#version\ni n\nt h\n"])
def test_damaged_merges(tmp_path, checkpoint, content):
    shutil.copytree(models.TOKENIZER, tmp_path / "my-clip")
    (tmp_path / "my-clip" / "merges.txt").write_bytes(content)
    assert "my-clip" in refusal(checkpoint, text_model_dir=str(tmp_path / "my-clip"))


def test_folder_with_a_part_missing(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(copy / "vae")
    assert "vae/config.json" in refusal(copy).replace("\\", "/")


def test_damaged_yaml(tmp_path, checkpoint):
    copy = shutil.copy(checkpoint, tmp_path / "model.safetensors")
    (tmp_path / "model.yaml").write_text("model: [1, 2]")
    assert "model.yaml" in refusal(copy)
