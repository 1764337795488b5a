"""Training inside a real AUTOMATIC1111, found through ``WEBUI_A1111``, with tiny checkpoints made here."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_scripts_ext import config as configs
from lora_scripts_ext.hosts.standalone import StandaloneHost
from lora_scripts_ext.training import run
from tests import shop

from . import checkpoints

FOLDER = os.environ.get("WEBUI_A1111")
pytestmark = [
    pytest.mark.webui,
    pytest.mark.skipif(not FOLDER, reason="WEBUI_A1111 does not name the folder of an AUTOMATIC1111 v1.10.1"),
]
DRIVER = Path(__file__).with_name("inside_a1111.py")
BURDENED = Path(__file__).with_name("burdened_a1111.py")


def inside(mode: str, checkpoint: Path, out: Path, given: Path, *flags: str, driver: Path = DRIVER) -> dict:
    """What the driver saw in the WebUI's own Python."""
    python = Path(FOLDER) / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (out / "webui").mkdir(parents=True, exist_ok=True)
    command = [str(python), str(driver), mode, str(checkpoint), str(out), str(given), *flags]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def matrix(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    data = shop.write_pictures(folder / "data", count=4, side=64)
    return inside("matrix", checkpoints.write(folder / "model", family), folder / "out", data)


def test_the_model_is_given_back_bit_for_bit_however_a_run_ends(matrix):
    ways = matrix["ways"]
    assert ways["done"]["ended"] == "done"
    assert ways["stopped"]["ended"] == "stopped"
    assert len(ways) >= 11
    for way, told in ways.items():
        assert way in ("done", "stopped") or told["ended"] == f"failed: {way}"
        assert told["changed"] == [], way
        assert told["picture"], way
        assert told["picture with LoRA"], way


def test_a_preview_is_the_picture_that_the_saved_file_gives(matrix):
    assert matrix["preview of the base"] == matrix["base"]
    assert matrix["preview"] == matrix["txt2img"]
    assert matrix["txt2img"] != matrix["base"], "the LoRA does nothing"
    assert Path(matrix["lora"]).parent.name == "Lora"


def test_what_a_run_takes_is_said_before_without_touching_the_model(matrix):
    told = matrix["foretold"]
    assert told["changed"] == []
    assert told["steps"] == 3
    assert told["told"] == pytest.approx(told["kept"], rel=0.1)


def test_the_same_weights_as_standalone_and_the_same_effect_when_the_webui_merges_them(family, tmp_path):
    data = shop.write_pictures(tmp_path / "data", side=64)
    checkpoint = checkpoints.write(tmp_path / "model", family)
    changes = [
        # AdamW's large eps makes a step proportional to its gradient. Else layers without any say would be compared,
        # too: the tiny SDXL has one channel to a norm group, so its time embeddings get nothing but rounding errors.
        {"target": "full", "gradient_checkpointing": True, "min_snr_gamma": 5, "optimizer_args": {"eps": 1.0}}
        | {"learning_rate": 10.0, "max_grad_norm": 0},
        # Some gradients of the tiny SDXL are as small as AdamW's own eps: there rounding decides a step's direction.
        {"train_text_encoder": True, "clip_skip": 2 if family == "sd1" else 1}
        | ({"optimizer_args": {"eps": 1e-6}} if family == "sdxl" else {}),
    ]
    runs = [
        shop.settings(
            data, checkpoint, tmp_path / f"inside{index}", resolution=64, save_precision="fp32", epochs=1, **change
        )
        for index, change in enumerate(changes)
    ]
    asked = tmp_path / "runs.json"
    asked.write_text(json.dumps(runs))
    loras = inside("train", checkpoint, tmp_path / "out", asked)["loras"]
    for told, values in zip(loras, runs, strict=True):
        alone = {**values, "output_dir": values["output_dir"].replace("inside", "alone")}
        same = load_file(run.train(configs.from_dict(alone), StandaloneHost()).lora)
        found = load_file(told["path"])
        assert told["layers"] == len([key for key in found if key.endswith(".alpha")]), "the WebUI leaves layers out"
        assert told["effect"] > 1e-3
        assert told["error"] <= 1e-3
        assert found.keys() == same.keys()
        for part in ("lora_up", "lora_down"):
            ours, theirs = (
                torch.cat([tensors[key].flatten() for key in sorted(tensors) if part in key])
                for tensors in (found, same)
            )
            assert (ours - theirs).norm() <= 1e-4 * theirs.norm(), part


@pytest.mark.parametrize(
    ("family", "flags"), [("sd1", []), ("sd1", ["--medvram"]), ("sd2", ["--medvram"]), ("sdxl", ["--medvram"])]
)
def test_what_the_last_prompt_and_the_settings_put_on_the_model_is_not_trained_on(family, flags, tmp_path):
    data = shop.write_pictures(tmp_path / "data", count=4, side=64)
    checkpoint = checkpoints.write(tmp_path / "model", family)
    told = inside("burdened", checkpoint, tmp_path / "out", data, *flags, driver=BURDENED)
    assert told["active"] == {
        "loras": ["plain"],
        "hypernetworks": ["hyper"],
        "tiled": True,
        "wraps": True,
    }
    assert told["picture"] != told["bare picture"]
    plain, burdened = (load_file(path) for path in told["loras"])
    assert plain.keys() == burdened.keys()
    assert all(torch.equal(plain[key], burdened[key]) for key in plain)
    assert told["changed"] == []
    assert told["picture after"] == told["picture"]
    assert told["bare picture after"] == told["bare picture"]


@pytest.mark.parametrize(
    ("kind", "flags", "sentence"),
    [
        ("lowvram", ["--lowvram"], "start the WebUI with --medvram"),
        ("fp8", [], "set FP8 weight to Disable"),
        ("inpainting", [], "takes more than text"),
        ("text encoder", ["--medvram"], "train_text_encoder needs the text encoder beside the UNet"),
    ],
)
def test_what_cannot_be_trained_on_is_a_sentence(kind, flags, sentence, tmp_path):
    data = shop.write_pictures(tmp_path / "data", count=1)
    checkpoint = checkpoints.write(tmp_path / "model", "sd1", inpainting=kind == "inpainting")
    settings = tmp_path / "out" / "webui" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fp8_storage": "Enable" if kind == "fp8" else "Disable"}))
    told = inside("refused", checkpoint, tmp_path / "out", data, *flags, driver=BURDENED)
    assert sentence in told["said"]
    assert told["changed"] == []
    assert not (tmp_path / "out" / "refused").exists()
