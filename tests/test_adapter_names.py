"""Names against diffusers' own models, at real sizes on the meta device, and against its checkpoint converter."""

import re

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks import models as real
from lora_scripts_ext.adapters.targets import select, smallest_set
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.models.layer_names import UNetLayout, open_clip_to_hf, text_key, unet_key
from lora_scripts_ext.models.targets import flux_targets, text_targets, unet_targets

from .models import tiny_parts

SD2 = {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
CONFIGS = {"sd1": real.UNETS["sd1"], "sd2": SD2, "sdxl": real.UNETS["sdxl"]}
UNETS = [*CONFIGS, "tiny sd1", "tiny sdxl", "one level"]


def unet_of(name):
    if name.startswith("tiny"):
        return tiny_parts(name.removeprefix("tiny ")).unet
    with torch.device("meta"):
        if name == "one level":
            return UNet2DConditionModel(
                block_out_channels=(32,),
                down_block_types=("CrossAttnDownBlock2D",),
                up_block_types=("CrossAttnUpBlock2D",),
                layers_per_block=3,
                cross_attention_dim=8,
            )
        return UNet2DConditionModel(**CONFIGS[name])


def text_of(layers, width, projection=False):
    config = CLIPTextConfig(num_hidden_layers=layers, hidden_size=width, intermediate_size=4 * width)
    with torch.device("meta"):
        return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def layout_of(unet):
    return UNetLayout.from_block_types(unet.config.down_block_types, unet.config.layers_per_block)


@pytest.mark.parametrize("name", UNETS)
def test_unet_names_go_there_and_back(name):
    """diffusers' own converter turns our original names into its model's, parameter by parameter."""
    unet = unet_of(name)
    layout, state = layout_of(unet), unet.state_dict()
    original = {layout.to_original(path): tensor for path, tensor in state.items()}
    assert len(original) == len(state)
    for path in state:
        assert layout.to_diffusers(layout.to_original(path)) == path
        assert layout.to_diffusers(path) == path
        assert layout.to_original(layout.to_original(path)) == layout.to_original(path)
    checkpoint = {f"model.diffusion_model.{path}": tensor for path, tensor in original.items()}
    converted = convert_ldm_unet_checkpoint(checkpoint, dict(unet.config))
    assert {path: id(tensor) for path, tensor in converted.items()} == {p: id(t) for p, t in state.items()}


def test_unknown_unet_path_is_refused():
    layout = UNetLayout(2, (True, True, True, False))
    for path in ("down_blocks.3.attentions.0.proj_in", "input_blocks.12.0.op", "down_blocks.0.resnets.0.conv3", ""):
        with pytest.raises(ValueError, match="no module of this name"):
            layout.to_original(path)
        with pytest.raises(ValueError, match="no module of this name"):
            layout.to_diffusers(path)


def test_open_clip_names():
    assert open_clip_to_hf("transformer.resblocks.3.attn.in_proj_weight") == tuple(
        f"text_model.encoder.layers.3.self_attn.{x}_proj.weight" for x in "qkv"
    )
    assert open_clip_to_hf("logit_scale") == ()
    with pytest.raises(ValueError, match="visual"):
        open_clip_to_hf("visual.proj")
    layer = ("ln_1", "ln_2", "attn.out_proj", "mlp.c_fc", "mlp.c_proj")
    tower = [
        "positional_embedding", "token_embedding.weight", "text_projection", "ln_final.weight", "ln_final.bias",
        *(f"transformer.resblocks.{n}.{x}.{w}" for n in range(2) for x in layer for w in ("weight", "bias")),
        *(f"transformer.resblocks.{n}.attn.in_proj_{w}" for n in range(2) for w in ("weight", "bias")),
    ]  # fmt: skip
    expected = {name for name, _ in text_of(2, 64, projection=True).named_parameters()}
    assert {hf for path in tower for hf in open_clip_to_hf(path)} == expected


def test_kohya_keys_as_the_webuis_know_them():
    sd1, sdxl = layout_of(unet_of("sd1")), layout_of(unet_of("sdxl"))
    attention = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    assert unet_key("sd1", attention, sd1) == "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    assert unet_key("sdxl", attention, sdxl) == "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    original = "output_blocks.3.1.transformer_blocks.0.ff.net.0.proj"
    assert unet_key("sd1", original, sd1) == "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj"
    assert unet_key("sdxl", "up_blocks.0.upsamplers.0.conv", sdxl) == "lora_unet_output_blocks_2_2_conv"
    assert unet_key("sdxl", "mid_block.resnets.1.time_emb_proj", sdxl) == "lora_unet_middle_block_2_emb_layers_1"
    text = "text_model.encoder.layers.0.self_attn.q_proj"
    assert text_key("sd1", "te1", text) == "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    assert text_key("sdxl", "te2", text) == "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.mark.parametrize(
    ("family", "counts"),
    [
        ("sd1", {"attention": 128, "attention-mlp": 192, "full": 278}),
        ("sd2", {"attention": 128, "attention-mlp": 192, "full": 278}),
        ("sdxl", {"attention": 560, "attention-mlp": 722, "full": 788}),
    ],
)
def test_target_sets_at_real_size(family, counts):
    """192 and 722 as hosts.md has them; kohya's LoCon adds residual blocks and samplers: 86 on SD, 66 on SDXL."""
    targets = list(unet_targets(unet_of(family), family))
    assert len({target.key for target in targets}) == len(targets)
    for name, count in counts.items():
        chosen = select(targets, name, True)
        assert len(chosen) == count
        assert smallest_set(target.key for target in chosen) == name
        for target in chosen:
            assert re.search("attn" if name == "attention" else "attentions|resnets|samplers", target.path)
    convolutions = {target.path.split(".")[-1] for target in select(targets, "full", True) if target.kind == "conv"}
    projections = {"proj_in", "proj_out"} if family == "sd1" else set()
    assert convolutions == {"conv1", "conv2", "conv_shortcut", "conv"} | projections


def test_text_targets_at_real_size():
    sd1 = list(text_targets(text_of(12, 768), "sd1", "te1"))
    sd2 = list(text_targets(text_of(23, 1024), "sd2", "te1"))
    sdxl = [
        *text_targets(text_of(12, 768), "sdxl", "te1"),
        *text_targets(text_of(32, 1280, projection=True), "sdxl", "te2"),
    ]
    assert [len(sd1), len(sd2), len(sdxl)] == [72, 138, 72 + 192]
    assert {key.split("_text_model")[0] for key in (target.key for target in sdxl)} == {"lora_te1", "lora_te2"}


def test_text_encoders_are_trained_only_when_configured():
    parts = tiny_parts("sd1")
    targets = [*unet_targets(parts.unet, "sd1"), *text_targets(parts.texts[0], "sd1", "te1")]
    assert {target.part for target in select(targets, "attention", False)} == {"unet"}
    assert {target.part for target in select(targets, "attention", True)} == {"unet", "te1"}
    with pytest.raises(UserError, match="no such layers"):
        select(text_targets(parts.texts[0], "sd1", "te1"), "attention", True)


@pytest.mark.parametrize(
    ("target", "double", "single"), [("attention", 4, 2), ("attention-mlp", 8, 2), ("full", 10, 3)]
)
def test_flux_keys_are_those_that_diffusers_reads(target, double, single):
    with torch.device("meta"):
        chosen = select(flux_targets(flux_blocks()), target, False)
    shapes = {one.key: (one.module.out_features, one.module.in_features) for one in chosen}
    state = {f"{key}.lora_down.weight": torch.ones(4, inputs) for key, (_, inputs) in shapes.items()}
    state |= {f"{key}.lora_up.weight": torch.ones(outputs, 4) for key, (outputs, _) in shapes.items()}
    state |= {f"{key}.alpha": torch.tensor(4.0) for key in shapes}
    assert len(shapes) == double + single
    # Raises at a key that it does not know; joined layers become one for each part.
    translated = _convert_kohya_flux_lora_to_diffusers(state)
    blocks = {name.split(".lora_")[0] for name in translated}
    assert {name.split(".")[1] for name in blocks} == {"transformer_blocks", "single_transformer_blocks"}
    assert smallest_set(shapes) == target


def flux_blocks():
    """The Linears of a double and a single block of Flux, in the original layout."""
    width = 3072
    streams = {
        f"{stream}_{name}": module
        for stream in ("img", "txt")
        for name, module in {
            "mod": nn.ModuleDict({"lin": nn.Linear(width, 6 * width)}),
            "attn": nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}),
            "mlp": nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
        }.items()
    }
    single = {
        "linear1": nn.Linear(width, 7 * width),
        "linear2": nn.Linear(5 * width, width),
        "modulation": nn.ModuleDict({"lin": nn.Linear(width, 3 * width)}),
    }
    return nn.ModuleDict({
        "img_in": nn.Linear(64, width),
        "double_blocks": nn.ModuleList([nn.ModuleDict(streams)]),
        "single_blocks": nn.ModuleList([nn.ModuleDict(single)]),
    })  # fmt: skip
