"""Regions with prompts and LoRAs of their own, drawn by real WebUIs, in-process."""

import pytest
import torch

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.config import Config
from lora_scripts_ext.hosts.standalone.host import StandaloneHost

from . import checkpoints
from .kinds import checkpoint, inside, marked


def write_loras(folder, model):
    """Two LoRAs of rank 2 for all layers, each strong enough to be seen."""
    with StandaloneHost().open(Config(base_model=str(model), device="cpu")) as session, torch.no_grad():
        for seed, name in enumerate("ab"):
            adapter = Adapter(select(list(session.targets()), "full", True), 2, seed=seed)
            generator = torch.Generator().manual_seed(seed)
            for layer in adapter.layers().values():
                layer.up.copy_(0.15 * torch.randn(layer.up.shape, generator=generator))
            file.save(folder / f"{name}.safetensors", adapter.layers(), torch.float32, {})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((kind, family), marks=marked(kind).marks, id=f"{kind}-{family}")
        for kind in ("a1111", "forge", "neo")
        for family in ("sd1", "sdxl")
    ],
)
def drawn(request, tmp_path_factory):
    kind, family = request.param
    folder = tmp_path_factory.mktemp(f"{kind}_{family}_regions")
    if kind == "a1111":
        model = checkpoints.write(folder / "model", family, deep_vae=True)
    else:
        model = checkpoint(kind, folder / "model", family)
    loras = folder / "loras"
    loras.mkdir()
    write_loras(loras, model)
    return inside(kind, "regions", model, folder / "out", loras, driver="regions.py")


def test_the_same_in_both_regions_is_the_plain_image(drawn):
    for way in ("same", "lora of the whole image", "long"):
        assert max(drawn[way]) <= 3, way
    assert drawn["again"] == [0, 0]


def test_each_region_has_its_own_prompt_and_loras(drawn):
    for way in ("other loras", "other prompts", "without", "one long"):
        assert max(drawn[way]) > 10, way
    assert drawn["three"] == 2


def test_what_cannot_be_done_is_said(drawn):
    assert "AND cannot join prompts within a region" in drawn["AND"]


def test_nothing_is_left_behind(drawn):
    assert drawn["changed"] == []
    assert drawn["image with LoRA"] and drawn["image"]
