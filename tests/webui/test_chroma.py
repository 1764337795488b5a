"""Chroma inside a real Forge Neo, found through ``WEBUI_NEO``, on a reduced checkpoint made here."""

import json

import pytest
from safetensors.torch import load_file

from tests import shop

from . import flux
from .kinds import assert_restored, inside, marked
from .test_host import assert_same_as_standalone

DRIVER = "inside.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_images(tmp_path_factory.mktemp("data"), count=4, side=64)


@pytest.mark.parametrize("kind", [marked("neo")])
def test_the_same_weights_as_standalone_and_the_same_effect_when_neo_merges_them(kind, data, tmp_path):
    model = flux.write_chroma(tmp_path / "model")
    values = shop.settings(
        data, model, tmp_path / "inside", resolution=64, save_precision="fp32", max_steps=3, lora_dropout=0.1,
        optimizer_args={"eps": 1e-4},
    )  # fmt: skip
    runs_file = tmp_path / "runs.json"
    runs_file.write_text(json.dumps([values]))
    lora = inside(kind, "train", model, tmp_path / "out", runs_file, driver=DRIVER)["loras"][0]
    tensors = load_file(lora["path"])
    assert lora["layers"] == len([key for key in tensors if key.endswith(".alpha")]), "the WebUI leaves layers out"
    assert lora["effect"] > 1e-4 and lora["error"] <= 1e-3
    assert_same_as_standalone(tensors, values)


@pytest.mark.parametrize("kind", [marked("neo")])
def test_the_model_is_restored_bit_for_bit_and_previews_are_what_txt2img_generates(kind, data, tmp_path):
    model = flux.write_chroma(tmp_path / "model")
    report = inside(kind, "matrix", model, tmp_path / "out", data, driver=DRIVER)
    assert_restored(report)
    assert report["changed on the bare model"] == []
    assert report["preview of the base"] == report["base"]
    assert report["preview"] == report["txt2img"] != report["base"]
    assert report["estimate"]["changed"] == []
    assert report["estimate"]["activation_bytes"] == pytest.approx(report["estimate"]["saved_bytes"], rel=0.1)
