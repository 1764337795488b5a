"""Finished images drawn by real WebUIs, in-process and over their API."""

import base64
import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_scripts_ext.contract import Control, DrawRequest, Inpainting, WeightedLora
from lora_scripts_ext.hosts.sdapi.host import SdapiHost

from . import checkpoints, server
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


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((kind, deep), marks=marked(kind).marks, id=f"{kind}{'' if deep else '-shallow'}")
        for kind, deep in [("a1111", True), ("a1111", False), ("forge", True), ("neo", True)]
    ],
)
def drawn(request, tmp_path_factory):
    """What was seen in a WebUI whose VAE is as deep as the real ones, or less."""
    kind, deep = request.param
    folder = tmp_path_factory.mktemp(f"{kind}_drawing")
    if kind == "a1111":
        model = checkpoints.write(folder / "model", "sd1", deep_vae=deep)
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


@pytest.mark.parametrize("kind", [marked("a1111")])
def test_another_webui_draws_over_its_api(kind, tmp_path):
    model = checkpoints.write(tmp_path / "model", "sd1", deep_vae=True)
    loras = tmp_path / "data" / "models" / "Lora"
    loras.mkdir(parents=True)
    write_lora(loras / "brand.safetensors", {UNET: (64, 64), TEXT: (256, 64)}, 1)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    plain = DrawRequest("a teapot", "", (7, 8), 64, 64, 4, 7.0, "Euler")
    with server.running(kind, model, tmp_path / "data") as webui:
        before = webui.txt2img("a teapot"), webui.get("sdapi/v1/options")
        with SdapiHost(webui.url).drawing(str(model)) as drawer:
            images = drawer.draw(plain)
            branded = drawer.draw(replace(plain, loras=(WeightedLora(loras / "brand.safetensors", 0.7),)))
            inpainted = drawer.draw(replace(plain, inpainting=Inpainting(picture, mask, 0.8)))
            lacks = drawer.lacks(replace(plain, control=Control(picture, "canny", "")))
        options = {"prompt": "a teapot <lora:brand:0.7>", "seed": 7, "subseed": 0, "batch_size": 2, "steps": 4}
        options |= {"width": 64, "height": 64, "sampler_name": "Euler", "cfg_scale": 7.0}
        theirs = webui.post("sdapi/v1/txt2img", **options)["images"]
        assert (webui.txt2img("a teapot"), webui.get("sdapi/v1/options")) == before
    assert len({image.tobytes() for image in (*images, *branded)}) == 4
    for image, text in zip(branded, theirs, strict=True):
        expected = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
        assert image.tobytes() == expected.tobytes()
    for image in inpainted:
        assert image.crop((0, 0, 32, 64)).tobytes() == picture.crop((0, 0, 32, 64)).tobytes()
    assert inpainted[0].tobytes() != inpainted[1].tobytes()
    assert "has no ControlNet" in lacks
