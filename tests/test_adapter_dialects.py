"""LoRAs that other programs wrote, continued with the effect that they have in those programs."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

from lora_scripts_ext.adapters import dialects, file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Target
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.models.layer_names import UNetLayout

from .test_adapter_file import build_adapter, unet_output
from .test_adapter_maths import ALPHA, CLOSE, RANK, all_targets, fresh_parts

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def randomly(model):
    """The LoRA's matrices random: PEFT starts with no effect."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def continued(path, parts, text=False, rank=8):
    adapter = Adapter(select(all_targets(parts, "sd1"), "attention", text), rank, 3.0)
    adapter.load(file.read(path))
    return adapter


def effect(adapter, parts):
    with adapter.attached(), torch.no_grad():
        return unet_output(parts.unet, "sd1")


OPTIONS = [
    {"lora_alpha": 3},
    {"lora_alpha": 3, "use_rslora": True},
    {"lora_alpha": 3, "alpha_pattern": {"attn1.to_q": 7}, "rank_pattern": {"to_k": 2, r".*attn2\.to_v": 6}},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("source", ["file", "folder", "unet's folder"])
def test_what_peft_saves_has_the_effect_it_has_in_peft(tmp_path, source, options):
    model = randomly(get_peft_model(fresh_parts("sd1").unet, LoraConfig(r=4, target_modules=ATTENTION, **options)))
    with torch.no_grad():
        expected = unet_output(model, "sd1")
    folder = tmp_path / "unet" if source == "unet's folder" else tmp_path
    model.save_pretrained(folder)
    parts = fresh_parts("sd1")
    path = tmp_path / "adapter_model.safetensors" if source == "file" else tmp_path
    torch.testing.assert_close(effect(continued(path, parts), parts), expected, **CLOSE)


@pytest.mark.parametrize("options", OPTIONS)
def test_what_diffusers_saves_has_the_effect_it_has_there(tmp_path, options):
    unet = fresh_parts("sd1").unet
    config = LoraConfig(r=4, target_modules=ATTENTION, **options)
    unet.add_adapter(config)
    randomly(unet)
    with torch.no_grad():
        expected = unet_output(unet, "sd1")
    metadata = {key: value for key, value in config.to_dict().items() if not isinstance(value, set)}
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=get_peft_model_state_dict(unet), unet_lora_adapter_metadata=metadata
    )
    parts = fresh_parts("sd1")
    torch.testing.assert_close(effect(continued(tmp_path, parts), parts), expected, **CLOSE)


def test_peft_s_text_encoder_beside_its_unet(tmp_path):
    parts = fresh_parts("sd1")
    for name, model, modules in (("unet", parts.unet, ATTENTION), ("text_encoder", parts.texts[0], ["q_proj", "fc1"])):
        randomly(get_peft_model(model, LoraConfig(r=4, lora_alpha=2, target_modules=modules))).save_pretrained(
            tmp_path / name
        )
    parts = fresh_parts("sd1")
    adapter = continued(tmp_path, parts, text=True, rank=4)
    stored = load_file(tmp_path / "text_encoder" / "adapter_model.safetensors")
    name = "text_model.encoder.layers.1.mlp.fc1"
    layer = adapter.layers()["lora_te_" + name.replace(".", "_")]
    assert torch.equal(layer.down, stored[f"base_model.model.{name}.lora_A.weight"])
    # The scales are 2/4 in the file and 3/4 here.
    torch.testing.assert_close(layer.up, stored[f"base_model.model.{name}.lora_B.weight"] * 2 / 3)


def originally(path):
    layout = UNetLayout(2, (True, False))
    return layout.to_original(path)


def processor(path):
    head, _, leaf = path.removesuffix(".0").rpartition(".")
    return f"{head}.processor.{leaf}_lora"


# For each dialect: a layer's path in it, and how its matrices end.
UNET = {
    "ComfyUI": (lambda path: f"diffusion_model.{originally(path)}", ".lora_down.weight", ".lora_up.weight"),
    "ai-toolkit": (lambda path: f"diffusion_model.{originally(path)}", ".lora_A.weight", ".lora_B.weight"),
    "original": (lambda path: f"model.diffusion_model.{originally(path)}", ".lora_A.weight", ".lora_B.weight"),
    "kohya": (lambda path: f"lora_unet_{path.replace('.', '_')}", ".lora_down.weight", ".lora_up.weight"),
    "diffusers": (lambda path: f"unet.{path}", ".lora_A.weight", ".lora_B.weight"),
    "diffusers 0.23": (lambda path: f"unet.{path}", ".lora.down.weight", ".lora.up.weight"),
    "diffusers 0.17": (lambda path: f"unet.{processor(path)}", ".down.weight", ".up.weight"),
    "diffusers 0.12": (processor, ".down.weight", ".up.weight"),
    "PEFT's own names": (lambda path: path, ".lora_A.default.weight", ".lora_B.default.weight"),
}


@pytest.mark.parametrize("dialect", UNET)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_names_of_the_unet(tmp_path, family, dialect):
    name_in_dialect, down, up = UNET[dialect]
    if family == "sdxl" and name_in_dialect not in (UNET["diffusers"][0], processor):
        pytest.skip("its layout is another one")
    parts, adapter = build_adapter(family, "attention", text=False)
    state = {}
    for target in select(all_targets(parts, family), "attention", False):
        layer = adapter.layers()[target.key]
        state[name_in_dialect(target.path) + down], state[name_in_dialect(target.path) + up] = (
            layer.down.clone(),
            layer.up.clone(),
        )
    save_file(state, tmp_path / "a.safetensors")
    _, other = build_adapter(family, "attention", text=False, seed=1, alpha=float(RANK))
    other.load(file.read(tmp_path / "a.safetensors"))
    assert torch.equal(other.weights, adapter.weights)


LAYERS = "text_model.encoder.layers.3"


@pytest.mark.parametrize(
    ("path", "part", "module"),
    [
        (f"text_encoder.{LAYERS}.self_attn.to_q", "te1", "self_attn_q_proj"),
        (f"text_encoder.{LAYERS}.self_attn.to_out", "te1", "self_attn_out_proj"),
        (f"text_encoder_2.{LAYERS}.mlp.fc1", "te2", "mlp_fc1"),
        (f"text_encoders.clip_g.transformer.{LAYERS}.mlp.fc2", "te2", "mlp_fc2"),
        (f"base_model.model.{LAYERS}.mlp.fc2", "te1", "mlp_fc2"),
        ("lora_te1_text_model_encoder_layers_3_mlp_fc2", "te1", "mlp_fc2"),
    ],
)
def test_names_of_text_encoders(path, part, module):
    assert dialects.kohya(path) == f"lora_{part}_text_model_encoder_layers_3_{module}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"use_dora": True}, "this adapter is a DoRA"),
        ({"peft_type": "LOHA"}, "this adapter is a LOHA"),
        ({"init_lora_weights": "pissa_niter_4"}, "initialised with pissa_niter_4"),
        ({"lora_alpha": "much"}, "lora_alpha or alpha_pattern is not valid"),
        ({"alpha_pattern": {"(": 2}}, "lora_alpha or alpha_pattern is not valid"),
        (None, "cannot be read"),
    ],
)
def test_peft_s_config_is_checked(tmp_path, change, sentence):
    name = "base_model.model.down_blocks.0.attentions.0.proj_in"
    save_file(
        {f"{name}.lora_A.weight": torch.ones(2, 4), f"{name}.lora_B.weight": torch.ones(4, 2)},
        tmp_path / "adapter_model.safetensors",
    )
    config = "{" if change is None else json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1, **change})
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(UserError, match=sentence) as error:
        file.read(tmp_path)
    assert "adapter_config.json" in str(error.value)


def test_folders_that_hold_no_lora(tmp_path):
    with pytest.raises(UserError, match="holds no LoRA"):
        file.read(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"adapter_model\.bin, a pickle"):
        file.read(tmp_path)
    (tmp_path / "adapter_model.bin").unlink()
    save_file({"x": torch.ones(1)}, tmp_path / "brand.safetensors")
    shutil.copy(tmp_path / "brand.safetensors", tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"give the path of the LoRA file itself \(brand\.safetensors and 1 more\)"):
        file.read(tmp_path)


@pytest.mark.parametrize(
    ("key", "width", "kind"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", 3072, "Flux"),
        ("transformer.single_transformer_blocks.0.attn.to_q", 3072, "Flux"),
        ("diffusion_model.double_blocks.0.img_attn.qkv", 3072, "Flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", 1536, "Stable Diffusion 3"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048, "Stable Diffusion XL"),
        ("unet.down_blocks.5.attentions.0.transformer_blocks.0.attn2.to_k", 1024, "Stable Diffusion 2"),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768, "Stable Diffusion 1"),
    ],
)
def test_a_lora_of_another_kind_of_model_is_named(tmp_path, key, width, kind):
    save_file(
        {f"{key}.lora_A.weight": torch.ones(2, width), f"{key}.lora_B.weight": torch.ones(4, 2)},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(UserError, match=f"was trained on {kind}, another kind of base model"):
        continued(tmp_path / "a.safetensors", fresh_parts("sd1"))


def test_a_flux_lora_with_names_of_diffusers_is_not_called_one_of_another_model(tmp_path):
    key = "lora_unet_double_blocks_0_img_attn_qkv"
    adapter = Adapter([Target(nn.Linear(8, 24), key, "double_blocks.0.img_attn.qkv", "unet", "linear")], 4)
    name = "transformer.single_transformer_blocks.0.attn.to_q"
    save_file(
        {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(UserError, match=r"for Flux, as the base model is, but its layer .* choose a file with kohya's"):
        adapter.load(file.read(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_precisions_of_a_file(tmp_path, dtype):
    _, adapter = build_adapter(target_set="attention", text=False)
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    stored = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / "a.safetensors").items()}
    save_file(stored, tmp_path / "b.safetensors")
    _, other = build_adapter(target_set="attention", text=False, seed=1)
    other.load(file.read(tmp_path / "b.safetensors"))
    for key, layer in other.layers().items():
        assert torch.equal(layer.down, stored[f"{key}.lora_down.weight"].float())
        torch.testing.assert_close(
            layer.up, stored[f"{key}.lora_up.weight"].float() * (stored[f"{key}.alpha"].float() / ALPHA)
        )
