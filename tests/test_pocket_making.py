"""The training of the 128-px pocket model, reduced: tiny networks, a few steps."""

import dataclasses
import gzip
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lora_scripts_ext import config as configs
from lora_scripts_ext.base_models.checkpoint import read_file
from lora_scripts_ext.contract import PreviewRequest
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from pocket import art, diffusion, drawings, make, text, training, vae

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
RECIPE = dataclasses.replace(training.REDUCED, vae_steps=3, unet_steps=3)
OBJECTS = {"camera": "a camera", "bell": "a bell", "lipstick": "a lipstick"}
MORE = {"owl": "an owl"}


def drawn(style, icon, side, _):
    """A square in a colour of the icon's own; the smaller, the later the style."""
    drawing = np.zeros((side, side, 4), np.uint8)
    margin = side // 8 + 2 * list(drawings.STYLES).index(style)
    drawing[margin:-margin, margin:-margin] = [*np.random.default_rng(len(icon)).integers(0, 256, 3), 255]
    return drawing


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The file of the drawings, of an invented pack: in "line" there is no owl."""
    folder = tmp_path_factory.mktemp("data")
    merges = folder / "merges.txt.gz"
    merges.write_bytes(gzip.compress((ROOT / "lora_scripts_ext/assets/clip_tokenizer/merges.txt").read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(art, "OBJECTS", OBJECTS)
        patch.setattr(art, "MORE_OBJECTS", MORE)
        patch.setattr(art, "find", lambda style, icon, _: None if (style, icon) == ("line", "owl") else {})
        patch.setattr(art, "draw", drawn)
        words = make.vocabulary(drawings.STYLES.values(), (OBJECTS | MORE).values())
        drawings.write(folder / "drawings.zip", folder, merges, words)
    return folder / "drawings.zip"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A work folder whose training ran through in one call."""
    work = tmp_path_factory.mktemp("trained")
    assert training.call(RECIPE, data, work, 10, CPU)["done"]
    return work


def result(work):
    return {
        f"{name}.{key}": tensor
        for name in ("autoencoder", "diffusion")
        for key, tensor in torch.load(work / f"{name}.pt", weights_only=True)["average"].items()
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_the_drawings_are_read_as_they_were_drawn(data):
    read = drawings.read(data, drawings.SIDE)
    named = list(zip(read.styles, read.phrases, strict=True))
    # A brand's tuning and held-out objects are not among the drawings that its images are composed from.
    assert ("flat", "a camera") in named
    assert not {("glossy", "a camera"), ("paper", "a camera"), ("glossy", "a lipstick"), ("paper", "a lipstick")} & {
        *named
    }
    assert ("cartoon", "an owl") in named and ("line", "an owl") not in named
    assert len(named) == len(drawings.STYLES) * 4 - 5
    number = named.index(("ink", "a bell"))
    assert np.array_equal(read.pixels[number].numpy(), drawn("ink", "bell", drawings.SIDE, None))
    assert drawings.read(data, 32).pixels.shape[1:] == (32, 32, 4)
    with zipfile.ZipFile(data) as archive:
        assert "</w>" in archive.read("text/merges.txt").decode("utf-8")


def test_captions_name_the_style_unless_it_is_the_flat_one():
    assert diffusion.captions("a bell", "white") == [
        "flat style, a bell, white background",
        "a bell, flat style, white background",
        "flat style, a bell",
        "a bell, white background",
        "a bell",
    ]
    assert diffusion.captions("a bell", "pink", "ink") == [
        "ink style, a bell, pink background",
        "a bell, ink style, pink background",
    ]


def test_many_short_calls_end_as_one_long_call(data, trained, tmp_path):
    stages = []
    while not stages or not stages[-1]["done"]:
        stages.append(training.call(RECIPE, data, tmp_path, 0, CPU))
    # One step a call; the first call after the autoencoder goes on with the diffusion model.
    assert [answer["steps"].get("diffusion", 0) for answer in stages] == [0, 0, 0, 1, 2, 3]
    assert_same(result(tmp_path), result(trained))


def test_a_call_that_dies_loses_only_what_its_last_state_lacks(data, trained, tmp_path, monkeypatch):
    training.call(RECIPE, data, tmp_path, 0, CPU)
    state = (tmp_path / "autoencoder.state").read_bytes()
    follow = diffusion.follow

    def die(average, network, step):
        if step == 3:
            raise KeyboardInterrupt
        follow(average, network, step)

    monkeypatch.setattr(diffusion, "follow", die)
    with pytest.raises(KeyboardInterrupt):
        training.call(RECIPE, data, tmp_path, 10, CPU)
    assert (tmp_path / "autoencoder.state").read_bytes() == state
    monkeypatch.setattr(diffusion, "follow", follow)
    assert training.call(RECIPE, data, tmp_path, 10, CPU)["done"]
    assert_same(result(tmp_path), result(trained))


def test_a_training_may_be_made_shorter_between_calls(data, trained, tmp_path):
    for name in ("autoencoder.pt", "latents.pt"):
        shutil.copy(trained / name, tmp_path / name)
    for _ in range(2):
        training.call(RECIPE, data, tmp_path, 0, CPU)
    answer = training.call(dataclasses.replace(RECIPE, unet_steps=1), data, tmp_path, 0, CPU)
    assert (answer["steps"], answer["done"]) == ({"autoencoder": 3, "diffusion": 2}, True)


def test_another_recipe_does_not_continue_a_training(data, trained):
    training.begin(dataclasses.replace(RECIPE, unet_steps=5), data, trained)
    with pytest.raises(UserError, match="another recipe"):
        training.begin(dataclasses.replace(RECIPE, text_width=128), data, trained)
    training.begin(RECIPE, data, trained)
    assert training.noted_recipe(trained) == RECIPE


def test_the_rate_warms_up_stays_and_falls_to_nearly_nothing():
    plan = training.Training(torch.nn.Linear(1, 1), lambda step: (torch.zeros(()), torch.zeros(())), 1000, 0.5, 0.0)
    assert [plan.rate(step) for step in (0, 99, 199, 799, 800)] == pytest.approx([0.0025, 0.25, 0.5, 0.5, 0.5])
    assert [plan.rate(step) for step in (900, 999)] == pytest.approx([0.25, 0.0025])


def test_what_is_placed_is_where_and_as_large_as_asked():
    pixels = torch.zeros(2, 64, 64, 4, dtype=torch.uint8)
    pixels[..., 0], pixels[..., 3] = 255, 255
    grounds = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    images = training.placed(pixels, 0.5, np.array([8, -4]), grounds)
    red = torch.tensor([1.0, -1.0, -1.0])
    assert torch.equal(images[0, :, 24, 12], red) and torch.equal(images[0, :, 55, 43], red)
    for row, column in ((23, 12), (24, 11), (56, 43), (55, 44)):
        assert torch.equal(images[0, :, row, column], torch.tensor([-1.0, -1.0, 1.0]))
        assert torch.equal(images[1, :, row, column], torch.ones(3))


def test_the_exported_checkpoint_is_read_and_draws(trained, tmp_path, monkeypatch, capsys):
    checkpoint = tmp_path / "model" / "pocket.safetensors"
    monkeypatch.setattr(sys, "argv", ["make", "export", "--work", str(trained), "--out", str(checkpoint)])
    assert make.main() == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == checkpoint.stat().st_size
    assert (checkpoint.parent / "sheet.png").is_file()
    config = yaml.safe_load(checkpoint.with_suffix(".yaml").read_text(encoding="utf-8"))
    assert read_file(checkpoint).scaling_factor == config["model"]["params"]["scale_factor"]
    values = {"train_data_dir": str(ROOT / "pocket/brand"), "base_model": str(checkpoint), "output_dir": str(tmp_path)}
    with StandaloneHost().open(configs.from_dict(values | {"device": "cpu"})) as session:
        assert (session.model.family, session.model.vae_factor, session.model.resolution) == ("sd1", 8, 32)
        image = session.preview(PreviewRequest("ink style, a bell", "", 1, 32, 32, 3, 4.0, "DDIM"))
    assert image.size == (32, 32)


def test_the_full_size_fits_into_forty_megabytes():
    recipe, tokenizer = training.LARGE, text.CLIPTokenizer.from_pretrained(ROOT / "pocket" / "model" / "text")
    pair = training.build_pair(recipe, tokenizer)
    model = vae.build(1, recipe.vae_widths, recipe.side)
    count = sum(parameter.numel() for network in (pair, model) for parameter in network.parameters())
    # Its own tokenizer has more words.
    count += 1000 * recipe.text_width
    assert 2 * count < 40_000_000
    assert pair.unet.config.sample_size == 16
