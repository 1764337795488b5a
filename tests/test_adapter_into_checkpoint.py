"""LoRAs merged into checkpoints of every family: against PEFT's merge, the adapter's effect, and kohya's formula."""

import copy
import hashlib
import json

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.into_checkpoint import into_checkpoint
from lora_scripts_ext.adapters.lora_weights import LoraLayer
from lora_scripts_ext.adapters.merge import MADE_FROM
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.base_models.checkpoint import to_diffusers, to_original
from lora_scripts_ext.base_models.original_layout import UNET
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.models.targets import unet_targets

from . import flux
from .models import state_dicts, write_checkpoint, write_diffusers_folder
from .test_adapter_file import outputs
from .test_adapter_maths import CLOSE, all_targets, fresh_parts, randomised
from .test_adapter_merge import diffusers_named, effects, lora


def checkpoint(path, family, dtype=torch.float32):
    """The tiny model in one file."""
    state = to_original(*state_dicts(fresh_parts(family)), family)
    save_file(
        {name: tensor.to(dtype) for name, tensor in state.items()}, path, {"format": "pt", "modelspec.title": "x"}
    )
    return path


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_checkpoint_computes_what_the_adapter_does(tmp_path, family):
    """UNet with convolutions, text encoders in both layouts."""
    base = checkpoint(tmp_path / "base.safetensors", family)
    parts = fresh_parts(family)
    adapter = randomised(Adapter(select(all_targets(parts, family), "full", True), 3, 2.0))
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    before = outputs(parts.unet, parts.texts, family)
    adapter.strength = 0.8
    with adapter.attached():
        expected = outputs(parts.unet, parts.texts, family)
    merged = into_checkpoint(base, [(tmp_path / "a.safetensors", 0.8)], tmp_path / "new.safetensors")
    assert merged.layers == len(adapter.keys()) and merged.rounding < 1e-5
    states = to_diffusers(load_file(tmp_path / "new.safetensors"))
    parts.unet.load_state_dict(states["unet"])
    for text, name in zip(parts.texts, ("te1", "te2"), strict=False):
        text.load_state_dict(states[name], strict=False)
    for old, mine, theirs in zip(before, expected, outputs(parts.unet, parts.texts, family), strict=True):
        assert (mine - old).abs().max() > 0.01
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-4)


def test_peft_merges_to_the_same_weights(tmp_path):
    base = checkpoint(tmp_path / "base.safetensors", "sd1")
    unet = fresh_parts("sd1").unet
    targets = select(unet_targets(unet, "sd1"), "full", False)
    adapter = randomised(Adapter(targets, 3, 2.0))
    file.save(tmp_path / "a.safetensors", adapter.layers(), torch.float32, {})
    twin = copy.deepcopy(unet)
    inject_adapter_in_model(
        LoraConfig(r=3, lora_alpha=2.0, target_modules=[target.path for target in targets]), twin, adapter_name="a"
    )
    layers = adapter.layers()
    into_checkpoint(base, [(tmp_path / "a.safetensors", 1.0)], tmp_path / "new.safetensors")
    mine = to_diffusers(load_file(tmp_path / "new.safetensors"))["unet"]
    for target in targets:
        layer = twin.get_submodule(target.path)
        assert isinstance(layer, BaseTunerLayer)
        with torch.no_grad():
            layer.lora_A["a"].weight.copy_(layers[target.key].down)
            layer.lora_B["a"].weight.copy_(layers[target.key].up)
        layer.merge()
        torch.testing.assert_close(mine[f"{target.path}.weight"], layer.base_layer.weight, **CLOSE)


def test_a_convolution_is_changed_by_kohya_s_formula(tmp_path):
    """There ``down`` is convolved with ``up``: the change is the kernel of both, one after the other."""
    base = checkpoint(tmp_path / "base.safetensors", "sd1")
    one = lora(tmp_path / "a.safetensors")
    into_checkpoint(base, [(one, 0.7)], tmp_path / "new.safetensors")
    layer = file.read(one).layers["lora_unet_down_blocks_0_resnets_0_conv1"]
    kernel = F.conv2d(layer.down.transpose(0, 1), layer.up).transpose(0, 1)
    name = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    expected = load_file(base)[name] + 0.7 * kernel * layer.alpha / layer.rank
    torch.testing.assert_close(load_file(tmp_path / "new.safetensors")[name], expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_not_changed_is_copied_and_the_precision_stays(tmp_path, dtype):
    base = checkpoint(tmp_path / "base.safetensors", "sdxl", dtype)
    one, two = (lora(tmp_path / f"{seed}.safetensors", "sdxl", seed=seed, target_set="attention") for seed in range(2))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (base, one, two)]
    merged = into_checkpoint(base, [(one, 1.0), (two, -0.5)], tmp_path / "new.safetensors")
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in (base, one, two)] == digests
    old, new = load_file(base), load_file(tmp_path / "new.safetensors")
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all("attn" in name or "layers" in name or "resblocks" in name for name in changed)
    assert all(tensor.dtype == dtype for tensor in new.values())
    assert 0 < merged.rounding < 0.2
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    key = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"
    exact = old[name].double() + effects(one)[key] - 0.5 * effects(two)[key]
    torch.testing.assert_close(new[name], exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)
    with safe_open(tmp_path / "new.safetensors", "pt") as opened:
        metadata = opened.metadata()
    assert (metadata["format"], metadata["modelspec.title"]) == ("pt", "new")
    assert json.loads(metadata[MADE_FROM])["loras"] == [{"name": "0", "weight": 1.0}, {"name": "1", "weight": -0.5}]


def test_names_of_diffusers_and_a_file_without_vae(tmp_path):
    base = checkpoint(tmp_path / "base.safetensors", "sdxl")
    state = {name: tensor for name, tensor in load_file(base).items() if not name.startswith("first_stage_model.")}
    save_file(state, tmp_path / "pruned.safetensors")
    one = lora(tmp_path / "a.safetensors", "sdxl")
    theirs = diffusers_named(one, tmp_path / "b.safetensors", "sdxl")
    into_checkpoint(base, [(one, 1.0)], tmp_path / "1.safetensors")
    into_checkpoint(tmp_path / "pruned.safetensors", [(theirs, 1.0)], tmp_path / "2.safetensors")
    mine, other = load_file(tmp_path / "1.safetensors"), load_file(tmp_path / "2.safetensors")
    for name in other:
        if name.startswith("model.diffusion_model."):
            torch.testing.assert_close(other[name], mine[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_diffusers_folder_gives_a_folder(tmp_path, family):
    base = write_diffusers_folder(tmp_path / "base", family)
    one = lora(tmp_path / "a.safetensors", family)
    single = checkpoint(tmp_path / "base.safetensors", family)
    theirs = diffusers_named(one, tmp_path / "b.safetensors", family)
    into_checkpoint(base, [(one, 0.5), (theirs, 0.5)], tmp_path / "new")
    into_checkpoint(single, [(one, 0.5), (theirs, 0.5)], tmp_path / "new.safetensors")
    expected = to_diffusers(load_file(tmp_path / "new.safetensors"))
    names = {"unet": "unet/diffusion_pytorch_model", "te1": "text_encoder/model", "te2": "text_encoder_2/model"}
    for part in expected.keys() & names.keys():
        actual = load_file(tmp_path / "new" / f"{names[part]}.safetensors")
        for name, tensor in actual.items():
            torch.testing.assert_close(tensor, expected[part][name], rtol=1e-5, atol=1e-6)
    copied = {path.relative_to(base): path.read_bytes() for path in base.rglob("*") if path.is_file()}
    for path, content in copied.items():
        changed = path.suffix == ".safetensors" and path.parts[0] != "vae"
        assert ((tmp_path / "new" / path).read_bytes() == content) != changed, path
    with pytest.raises(UserError, match="nothing is overwritten"):
        into_checkpoint(base, [(one, 1.0)], tmp_path / "new")


def test_flux_as_a_folder_whose_layers_are_split(tmp_path):
    """diffusers has query, key and value apart, the LoRA for the original layout has them in one."""
    base = flux.write_folder(tmp_path / "base")
    transformer = load_file(base / "transformer" / "diffusion_pytorch_model.safetensors")
    names = [f"transformer_blocks.1.attn.to_{part}.weight" for part in "qkv"]
    outputs, inputs = len(names) * transformer[names[0]].shape[0], transformer[names[0]].shape[1]
    layer = LoraLayer(torch.randn(4, inputs), torch.randn(outputs, 4), 4.0)
    keys = {"lora_unet_double_blocks_1_img_attn_qkv": layer}
    file.save(tmp_path / "a.safetensors", keys, torch.float32, {})
    assert into_checkpoint(base, [(tmp_path / "a.safetensors", 0.5)], tmp_path / "new").layers == 1
    new = load_file(tmp_path / "new" / "transformer" / "diffusion_pytorch_model.safetensors")
    change = 0.5 * layer.up @ layer.down
    for name, rows in zip(names, change.chunk(3), strict=True):
        torch.testing.assert_close(new[name], transformer[name] + rows, **CLOSE)
    assert sum(not torch.equal(new[name], tensor) for name, tensor in transformer.items()) == 3


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(tmp_path):
    base = write_checkpoint(tmp_path / "base.safetensors", "sd1")
    one, other = lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors", "sdxl")
    (tmp_path / "folder").mkdir()
    out = tmp_path / "new.safetensors"
    for where, loras, to, says in (
        (base, [(other, 1.0)], out, "is not in base.safetensors, a checkpoint of Stable Diffusion 1"),
        (one, [(one, 1.0)], out, "a LoRA"),
        (base, [(base, 1.0)], out, "choose a LoRA"),
        (base, [], out, "at least one"),
        (base, [(one, float("inf"))], out, "give a number"),
        (base, [(one, 1.0)], base, "nothing is overwritten"),
        (base, [(one, 1e30)], out, "lower the weight"),
        (tmp_path / "folder", [(one, 1.0)], tmp_path / "new", "folder"),
        (tmp_path / "no.safetensors", [(one, 1.0)], out, "no such file"),
    ):
        with pytest.raises(UserError, match=says):
            into_checkpoint(where, loras, to)
        assert not out.exists() and len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("alone", [False, True])
def test_flux_and_its_transformer_alone(tmp_path, alone):
    base = flux.write_file(tmp_path / "base.safetensors")
    state = load_file(base)
    prefix = "" if alone else UNET
    if alone:
        state = {name.removeprefix(UNET): tensor for name, tensor in state.items() if name.startswith(UNET)}
        base = tmp_path / "alone.safetensors"
        save_file(state, base)
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for path in ("double_blocks.0.img_attn.qkv", "single_blocks.1.linear1"):
        outputs, inputs = state[f"{prefix}{path}.weight"].shape
        down, up = torch.randn(4, inputs, generator=generator), torch.randn(outputs, 4, generator=generator)
        layers[path] = LoraLayer(down, up, 2.0)
    keys = {f"lora_unet_{path.replace('.', '_')}": layer for path, layer in layers.items()}
    file.save(tmp_path / "a.safetensors", keys, torch.float32, {})
    into_checkpoint(base, [(tmp_path / "a.safetensors", 0.1)], tmp_path / "new.safetensors")
    new = load_file(tmp_path / "new.safetensors")
    for path, layer in layers.items():
        expected = state[f"{prefix}{path}.weight"].float() + 0.1 * 2.0 / 4 * layer.up @ layer.down
        torch.testing.assert_close(new[f"{prefix}{path}.weight"].float(), expected, rtol=1e-3, atol=1e-3)
    assert sum(not torch.equal(new[name], tensor) for name, tensor in state.items()) == 2
