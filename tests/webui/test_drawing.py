"""Finished images drawn by real WebUIs, in-process."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from . import checkpoints
from .kinds import checkpoint, inside, marked

TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def write_lora(path, shapes, seed):
    """A LoRA of rank 2 for layers of these [outputs, inputs]."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, (outputs, inputs) in shapes.items():
        tensors[f"{key}.lora_down.weight"] = torch.randn(2, inputs, generator=generator)
        tensors[f"{key}.lora_up.weight"] = torch.randn(outputs, 2, generator=generator) * 0.1
        tensors[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path)


@pytest.fixture(scope="module", params=[marked(kind) for kind in ("a1111", "forge", "neo")])
def drawn(request, tmp_path_factory):
    kind = request.param
    folder = tmp_path_factory.mktemp(f"{kind}_drawing")
    if kind == "a1111":
        model = checkpoints.write(folder / "model", "sd1", deep_vae=True)
        shapes = {UNET: (64, 64), TEXT: (256, 64)}
    else:
        model = checkpoint(kind, folder / "model", "sd1")
        shapes = {UNET: (320, 320), TEXT: (3072, 768)}
    loras = folder / "loras"
    loras.mkdir()
    for seed, name in enumerate("ab"):
        write_lora(loras / f"{name}.safetensors", shapes, seed)
    # Flux's: none of its layers is there.
    others = {f"lora_unet_double_blocks_{number}_img_attn_proj": (64, 64) for number in range(14)}
    write_lora(loras / "other.safetensors", others, 3)
    report = inside(kind, "drawing", model, folder / "out", loras, driver="drawing.py")
    return report | {"model": model}


def test_images_are_those_of_the_webuis_own_batch(drawn):
    assert drawn["loras act"], "the LoRAs do nothing"
    assert drawn["as theirs"] == {"loras": True, "plain": True, "again": True}
    assert drawn["still theirs"]


def test_a_seed_draws_its_image_in_any_batch(drawn):
    assert max(drawn["alone"]) <= 1


def test_inpainting_keeps_the_pixels_that_stay(drawn):
    inpainted = drawn["inpainted"]
    assert inpainted["kept"] == [0, 0]
    assert min(inpainted["drawn"]) > 10 and inpainted["seeds differ"]
    assert inpainted["odd size"] == [60, 52]


def test_controlnet_is_used_where_there_is_one(drawn):
    controlled = drawn["controlled"]
    if drawn["kind"] == "a1111":
        assert controlled["lacks"] == controlled["unknown"]
        assert "has no ControlNet; install the extension" in controlled["lacks"]
    else:
        assert controlled == {"lacks": "", "unknown": controlled["unknown"], "repeats": True, "acts": True}
        assert "ControlNet has no 'no such model'" in controlled["unknown"]


def test_what_cannot_be_done_is_said(drawn):
    assert "cannot use this LoRA" in drawn["misfit"]
    assert "there is no such LoRA file" in drawn["missing"]
    assert "no sampler 'Nobody'" in drawn["sampler"] and drawn["known sampler"] == ""


def test_interrupt_ends_it_and_calls_the_job(drawn):
    assert drawn["interrupted"] == [True, True]


def test_nothing_is_left_behind(drawn):
    assert drawn["changed"] == []
    assert drawn["image with LoRA"] and drawn["image"]


def test_facts(drawn):
    model = drawn["model"]
    assert drawn["facts"] == [model.stem, hashlib.sha256(model.read_bytes()).hexdigest(), 512, 7.0]
