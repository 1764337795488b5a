"""A catalogue from a shell, drawn by a real WebUI on another address."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_scripts_ext import marks
from lora_scripts_ext.catalogue import candidates
from lora_scripts_ext.catalogue.store import Catalogue
from lora_scripts_ext.commands import catalogue
from lora_scripts_ext.keeping import placing
from lora_scripts_ext.keeping.cutout import cut_out

from . import server
from .kinds import checkpoint, marked

PRODUCTS = "sku,title,category,photo\nT-1,teapot,pots,\nT-2,cup,pots,cup.png\nT-3,jug,jugs,\n"
RULES = "rules:\n- when: {category: pots}\n  loras: [{file: brand.safetensors, weight: 0.7}]\n"
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def write_lora(path, width):
    generator = torch.Generator().manual_seed(1)
    down, up = torch.randn(2, width, generator=generator), torch.randn(width, 2, generator=generator) * 0.1
    save_file({f"{LAYER}.lora_down.weight": down, f"{LAYER}.lora_up.weight": up}, path)


def write_photo(path):
    """A dark box that is cut out."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[8:56, 12:52] = np.random.default_rng(0).integers(0, 120, (48, 40, 4), dtype=np.uint8)
    pixels[8:56, 12:52, 3] = 255
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("kind", [marked("a1111"), marked("forge"), marked("neo")])
def test_a_catalogue_is_drawn_by_another_webui(kind, tmp_path, capsys):
    # A1111's tiny model has fewer pixels a latent cell than the API takes for granted, unless its VAE is deep.
    model = checkpoint(kind, tmp_path / "model", "sd1", **({"deep_vae": True} if kind == "a1111" else {}))
    loras = tmp_path / "data" / "models" / "Lora"
    loras.mkdir(parents=True)
    write_lora(loras / "brand.safetensors", 64 if kind == "a1111" else 320)
    (tmp_path / "products.csv").write_text(PRODUCTS)
    (tmp_path / "rules.yaml").write_text(RULES.replace("brand.safetensors", str(loras / "brand.safetensors")))
    write_photo(tmp_path / "cup.png")
    out = tmp_path / "out"
    with server.running(kind, model, tmp_path / "data") as webui:
        before = webui.txt2img("a teapot"), webui.get("sdapi/v1/options")
        arguments = ["--products", tmp_path / "products.csv", "--rules", tmp_path / "rules.yaml", "--out", out]
        settings = [f"webui={webui.url}", "width=64", "height=64", "steps=4"]
        arguments += ["--channel", "shopify", "--candidates", "3", "--keep-product"]
        arguments += [part for one in settings for part in ("--set", one)]
        assert catalogue.main(["generate", *map(str, arguments)]) == 0
        done = json.loads(capsys.readouterr().out.splitlines()[-1])
        shop = Catalogue.open(out / "catalogue")
        pot = candidates.of_product(shop, shop.by_sku("T-1").id)
        options = {"width": 64, "height": 64, "steps": 4, "sampler_name": "Euler", "cfg_scale": 7.0, "subseed": 0}
        prompt = {"prompt": f"{pot[0].facts['prompt']} <lora:brand:0.7>", "negative_prompt": pot[0].facts["negative"]}
        theirs = [webui.post("sdapi/v1/txt2img", **options, **prompt, seed=one.seed)["images"][0] for one in pot]
        assert (webui.txt2img("a teapot"), webui.get("sdapi/v1/options")) == before
    assert (done["generated"], done["failed"], done["unmatched"], done["images"]) == (6, 0, ["T-3"], 2)
    for one, text in zip(pot, theirs, strict=True):
        expected = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), int)
        drawn = np.asarray(Image.open(one.path(shop)), int)
        # A batch is rounded otherwise than an image by itself.
        assert np.abs(drawn - expected).max() <= 1
        assert marks.read(one.path(shop)).sources == ("trainedAlgorithmicMedia",)
    assert len({one.sha256 for one in pot}) == 3
    placed = placing.place(cut_out(tmp_path / "cup.png"), 64, 64)
    inside = np.asarray(placed.mask) > 0
    for one in candidates.of_product(shop, shop.by_sku("T-2").id):
        assert np.array_equal(np.asarray(Image.open(one.path(shop)))[inside], np.asarray(placed.pixels)[inside])
        assert marks.read(one.path(shop)).sources == ("compositeWithTrainedAlgorithmicMedia",)
    entries = json.loads((out / "manifest.json").read_text())["images"]
    assert [(one["sku"], one["base_model"]["name"]) for one in entries] == [("T-1", model.stem), ("T-2", model.stem)]
    assert entries[0]["loras"][0]["name"] == "brand"
    shop.close()
