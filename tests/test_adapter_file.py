"""The LoRA file, read by other people's code and by ours."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.models.targets import unet_targets

from .models import POOLED_WIDTH, pipeline
from .test_adapter_maths import ALPHA, CLOSE, RANK, all_targets, fresh_parts, randomised, unet_inputs, with_peft

FAMILIES = ("sd1", "sd2", "sdxl")


def build_adapter(family="sd1", target_set="full", text=True, seed=0, **options):
    parts = fresh_parts(family)
    options = {"rank": RANK, "alpha": ALPHA, **options}
    return parts, randomised(Adapter(select(all_targets(parts, family), target_set, text), **options), seed)


def unet_output(unet, family):
    noisy, timesteps, context = unet_inputs()
    if family != "sdxl":
        return unet(noisy, timesteps, context).sample
    context = torch.cat([context, context.flip(-1)], dim=-1)
    added = {"text_embeds": torch.linspace(-1, 1, 2 * POOLED_WIDTH).view(2, -1), "time_ids": torch.full((2, 6), 32.0)}
    return unet(noisy, timesteps, context, added_cond_kwargs=added).sample


def outputs(unet, texts, family):
    tokens = torch.arange(2 * 77).view(2, 77)
    with torch.no_grad():
        return [unet_output(unet, family), *(text(tokens).last_hidden_state for text in texts)]


@pytest.mark.parametrize(
    ("family", "target_set"),
    [("sd1", "full"), ("sd2", "full"), ("sdxl", "attention"), ("sdxl", "attention-mlp")],
)
def test_diffusers_loads_the_file(tmp_path, family, target_set):
    """``load_lora_weights`` of diffusers' own pipelines has the effect of the attached adapter, text encoders too.

    Convolutions under kohya's SDXL names diffusers itself cannot read.
    """
    parts, adapter = build_adapter(family, target_set)
    base = outputs(parts.unet, parts.texts, family)
    with adapter.attached():
        expected = outputs(parts.unet, parts.texts, family)
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    pipe = pipeline(family)
    pipe.load_lora_weights(tmp_path, weight_name="a.safetensors")
    texts = [pipe.text_encoder, pipe.text_encoder_2] if family == "sdxl" else [pipe.text_encoder]
    for before, mine, theirs in zip(base, expected, outputs(pipe.unet, texts, family), strict=True):
        assert (mine - before).abs().max() > 0.01
        torch.testing.assert_close(theirs, mine, **CLOSE)


def test_peft_with_the_file_s_tensors(tmp_path):
    parts, adapter = build_adapter(text=False)
    with adapter.attached():
        expected = unet_output(parts.unet, "sd1")
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    other = Adapter(select(unet_targets(parts.unet, "sd1"), "full", False), RANK, ALPHA)
    other.load(file.read(tmp_path / "a.safetensors"))
    twin = with_peft(parts.unet, select(unet_targets(parts.unet, "sd1"), "full", False), other)
    torch.testing.assert_close(unet_output(twin, "sd1"), expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_in_the_file(tmp_path, dtype):
    _, adapter = build_adapter("sd1")
    file.save(tmp_path / "a.safetensors", adapter.layers(), dtype, {"ss_seed": "42", "modelspec.title": "a"})
    tensors = load_file(tmp_path / "a.safetensors")
    assert {name.split(".", 1)[1] for name in tensors} == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert len(tensors) == 3 * len(adapter.keys())
    for key, layer in adapter.layers().items():
        assert torch.equal(tensors[f"{key}.lora_down.weight"], layer.down.to(dtype))
        assert torch.equal(tensors[f"{key}.lora_up.weight"], layer.up.to(dtype))
        assert tensors[f"{key}.alpha"].shape == ()
        assert tensors[f"{key}.alpha"].item() == ALPHA
    projection = "lora_unet_down_blocks_0_attentions_0_proj_in"
    assert tensors[f"{projection}.lora_down.weight"].shape == (RANK, 64, 1, 1)
    assert tensors[f"{projection}.lora_up.weight"].shape == (64, RANK, 1, 1)
    with safe_open(tmp_path / "a.safetensors", "pt") as opened:
        assert opened.metadata()["ss_seed"] == "42"
        assert opened.metadata()["modelspec.title"] == "a"


def test_linear_projections_are_matrices(tmp_path):
    _, adapter = build_adapter("sd2")
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float16, {})
    down = load_file(tmp_path / "a.safetensors")["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"]
    assert down.shape == (RANK, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_is_the_same(tmp_path, family):
    _, adapter = build_adapter(family)
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    _, other = build_adapter(family, seed=1)
    other.load(file.read(tmp_path / "a.safetensors"))
    assert torch.equal(other.weights, adapter.weights)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    _, adapter = build_adapter()
    path = tmp_path / "a.safetensors"
    file.save(path, adapter.layers(), torch.float16, {})
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"(?i)str"):
        file.save(path, adapter.layers(), torch.float16, {"ss_seed": 42})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def loaded_effect(tmp_path, adapter, **options):
    """UNet output of ``adapter``, and of another one with ``options`` that continues from its file."""
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    parts, other = build_adapter(text=False, seed=1, **options)
    other.load(file.read(tmp_path / "a.safetensors"))
    with other.attached():
        return unet_output(parts.unet, "sd1"), other


@pytest.mark.parametrize(
    "options", [{"rank": 5, "alpha": 5.0}, {"rank": RANK, "alpha": 0.5}, {"rank": 8, "alpha": 1.0}]
)
def test_other_rank_and_alpha_have_the_same_effect(tmp_path, options):
    parts, adapter = build_adapter(text=False)
    with adapter.attached():
        expected = unet_output(parts.unet, "sd1")
    effect, other = loaded_effect(tmp_path, adapter, **options)
    torch.testing.assert_close(effect, expected, **CLOSE)
    for layer in other.layers().values():
        assert layer.down[RANK:].all()


def test_layers_that_the_file_lacks_start_fresh(tmp_path):
    _, adapter = build_adapter(text=False, target_set="attention")
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    parts = fresh_parts("sd1")
    other = Adapter(select(all_targets(parts, "sd1"), "full", True), RANK, ALPHA)
    fresh = {key: layer.down.clone() for key, layer in other.layers().items()}
    other.load(file.read(tmp_path / "a.safetensors"))
    for key, layer in other.layers().items():
        old = adapter.layers().get(key)
        assert torch.equal(layer.down, fresh[key] if old is None else old.down)
        assert layer.up.any() == (old is not None)


@pytest.mark.parametrize(
    ("source", "options", "remedy"),
    [
        ({"rank": 4}, {"rank": 3}, "set lora_rank: 4"),
        ({"target_set": "full", "text": False}, {"target_set": "attention-mlp", "text": False}, "set target: full"),
        (
            {"target_set": "attention-mlp", "text": False},
            {"target_set": "attention", "text": False},
            "24 of its 72 layers are not trained here .* set target: attention-mlp",
        ),
        ({"text": True}, {"text": False}, "18 of its .* set train_text_encoder: true"),
        ({"family": "sdxl"}, {"family": "sd1"}, "another kind of base model"),
        ({"family": "sd1", "text": False}, {"family": "sdxl"}, "another kind of base model"),
    ],
)
def test_files_that_do_not_fit(tmp_path, source, options, remedy):
    _, adapter = build_adapter(**source)
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float16, {})
    _, other = build_adapter(**options)
    before = other.weights.detach().clone()
    with pytest.raises(UserError, match=remedy) as error:
        other.load(file.read(tmp_path / "a.safetensors"))
    assert "a.safetensors" in str(error.value)
    assert torch.equal(other.weights, before)


def test_reads_what_diffusers_and_peft_write(tmp_path):
    """diffusers' own saved LoRA (``unet.….lora_A.weight``), with and without PEFT's alpha in the metadata."""
    parts, adapter = build_adapter("sdxl", "attention-mlp")
    state = {}
    for target in select(all_targets(parts, "sdxl"), "attention-mlp", True):
        layer = adapter.layers()[target.key]
        prefix = {"unet": "unet", "te1": "text_encoder", "te2": "text_encoder_2"}[target.part]
        state[f"{prefix}.{target.path}.lora_A.weight"] = layer.down.clone()
        state[f"{prefix}.{target.path}.lora_B.weight"] = layer.up.clone()
    config = {f"{prefix}.lora_alpha": ALPHA for prefix in ("unet", "text_encoder", "text_encoder_2")}
    save_file(state, tmp_path / "a.safetensors", {"lora_adapter_metadata": json.dumps(config)})
    _, other = build_adapter("sdxl", "attention-mlp", seed=1)
    other.load(file.read(tmp_path / "a.safetensors"))
    assert torch.equal(other.weights, adapter.weights)
    save_file(state, tmp_path / "b.safetensors")
    assert {layer.alpha for layer in file.read(tmp_path / "b.safetensors").layers.values()} == {RANK}


PEFT = {"lora_adapter_metadata": '{"unet.lora_alpha": "much"}'}


KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
OTHERS = {
    "checkpoint": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4)},
    "DoRA": {f"{KEY}.dora_scale": torch.zeros(4), f"{KEY}.lora_down.weight": torch.zeros(2, 4)},
    "PEFT's DoRA": {f"base_model.model.{KEY}.lora_magnitude_vector": torch.zeros(4)},
    "LoKr": {f"{KEY}.lokr_w1": torch.zeros(4, 4)},
    "OFT": {f"{KEY}.oft_blocks": torch.zeros(4, 4)},
    "differences": {f"{KEY}.diff": torch.zeros(4, 4)},
    "textual inversion": {"emb_params": torch.zeros(3, 768)},
    "textual inversion of SDXL": {"clip_l": torch.zeros(3, 768), "clip_g": torch.zeros(3, 1280)},
    "ControlNet": {"control_model.input_blocks.0.0.weight": torch.zeros(4, 4)},
    "two alphas": {
        f"{KEY}.lora_down.weight": torch.zeros(2, 4),
        f"{KEY}.lora_up.weight": torch.zeros(4, 2),
        f"{KEY}.alpha": torch.zeros(2),
    },
    "twice": {
        f"{KEY}.lora_down.weight": torch.zeros(2, 4),
        f"{KEY}.lora_up.weight": torch.zeros(4, 2),
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 4),
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight": torch.zeros(4, 2),
    },
    "PEFT alone": {"base_model.model.down_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 4)},
}


def damaged(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    _, adapter = build_adapter(target_set="attention", text=False)
    file.save(path, adapter.layers(), torch.float16, {})
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    key = adapter.keys()[0]
    if kind == "missing":
        return tmp_path / "b.safetensors"
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
        return path
    if kind == "pickle":
        torch.save(tensors, path)
        return path
    if kind == "half a layer":
        del tensors[f"{key}.lora_up.weight"]
    if kind == "ranks differ":
        tensors[f"{key}.lora_up.weight"] = torch.zeros(8, RANK + 1)
    if kind == "not a number":
        tensors[f"{key}.lora_up.weight"].fill_(torch.nan)
    if kind == "empty":
        tensors = {}
    if kind == "LoHa":
        tensors = {f"{key}.hada_w1_a": torch.zeros(4, 4)}
    if kind == "PEFT":
        save_file({"unet.x.lora_A.weight": torch.zeros(2, 4), "unet.x.lora_B.weight": torch.zeros(4, 2)}, path, PEFT)
        return path
    tensors = OTHERS.get(kind, tensors)
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "there is no such LoRA file"),
        ("cut off", "is cut off"),
        ("pickle", "a pickle .* under another name"),
        ("half a layer", "is incomplete"),
        ("ranks differ", "is incomplete"),
        ("not a number", "its training failed"),
        ("empty", "the file is empty"),
        ("LoHa", "this is a LoHa file"),
        ("PEFT", "lora_alpha or alpha_pattern is not valid"),
        ("checkpoint", "this is not a LoRA, but a checkpoint, which belongs in base_model"),
        ("DoRA", "this is a DoRA file"),
        ("PEFT's DoRA", "this is a DoRA file"),
        ("LoKr", "this is a LoKr file"),
        ("OFT", "this is an OFT file"),
        ("differences", "but a LyCORIS of full differences"),
        ("textual inversion", "but a textual inversion"),
        ("textual inversion of SDXL", "but a textual inversion"),
        ("ControlNet", "but a ControlNet"),
        ("two alphas", "alpha of .* is not one number"),
        ("twice", "occurs twice"),
        ("PEFT alone", "adapter_config.json: this file is missing, which holds the alpha"),
    ],
)
def test_bad_files_are_named(tmp_path, kind, sentence):
    path = damaged(tmp_path, kind)
    with pytest.raises(UserError, match=sentence) as error:
        file.read(path)
    assert str(path.parent) in str(error.value)
