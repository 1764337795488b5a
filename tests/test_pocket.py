"""The pocket model that ships, and the demo on it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from lora_scripts_ext import config as configs
from lora_scripts_ext.base_models.checkpoint import read_file
from lora_scripts_ext.contract import PreviewRequest
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from pocket import demo, install

ROOT = Path(__file__).resolve().parent.parent
POCKET = ROOT / "pocket"


def rows(folder: str) -> dict[str, str]:
    with (POCKET / folder / "metadata.csv").open(encoding="utf-8", newline="") as table:
        return {row["filename"]: row["prompt"] for row in csv.DictReader(table)}


def test_it_is_small_and_its_images_are_complete():
    assert (POCKET / "model" / "pocket.safetensors").stat().st_size <= 25_000_000
    brand, tuning, held_out = rows("brand"), rows("tuning"), rows("held_out")
    assert len(brand) >= 40
    assert len(held_out) >= 8
    assert len({*brand.values(), *tuning.values(), *held_out.values()}) == len(brand) + len(tuning) + len(held_out)
    for folder, names in (("brand", brand), ("tuning", tuning), ("held_out", held_out)):
        assert {path.name for path in (POCKET / folder).glob("*.png")} == set(names)
        for name in names:
            assert Image.open(POCKET / folder / name).convert("RGB").size == (128, 128)


def test_the_second_brand_is_complete_and_its_captions_are_known_to_the_model():
    with (POCKET / "objects.csv").open(encoding="utf-8", newline="") as table:
        known = {row["phrase"] for row in csv.DictReader(table)}
    named = {name: rows(f"argilla/{name}") for name in ("brand", "tuning", "held_out")}
    assert [len(one) for one in named.values()] == [40, 8, 8]
    prompts = [prompt for one in named.values() for prompt in one.values()]
    assert len(set(prompts)) == len(prompts)
    assert set(prompts) <= known
    for folder, one in named.items():
        for name in one:
            assert Image.open(POCKET / "argilla" / folder / name).size == (128, 128)
    for folder in ("tuning", "held_out"):
        for name in named[folder]:
            outline = np.asarray(Image.open(POCKET / "argilla" / folder / "masks" / name).convert("L"))
            assert outline.shape == (128, 128)
            assert 0.05 < outline.mean() / 255 < 0.9


def test_it_generates_the_prompt_on_white(tmp_path):
    values = {
        "train_data_dir": str(POCKET / "brand"),
        "base_model": str(POCKET / "model" / "pocket.safetensors"),
        "output_dir": str(tmp_path),
        "device": "cpu",
    }
    with StandaloneHost().open(configs.from_dict(values)) as session:
        assert (session.model.family, session.model.vae_factor, session.model.resolution) == ("sd1", 4, 64)
        generated = {
            prompt: np.asarray(session.preview(PreviewRequest(prompt, "", 11, 64, 64, 12, 4.0, "DDIM")), dtype=float)
            for prompt in ("a trophy", "an umbrella")
        }
    for image in generated.values():
        assert image[:6].mean() > 215  # a white ground
        assert image[20:44, 20:44].mean() < 200  # and something on it
    # A trophy is golden, an umbrella purple.
    assert generated["a trophy"][10:30, 22:42, 0].mean() > generated["a trophy"][10:30, 22:42, 2].mean() + 60
    assert generated["an umbrella"][12:28, 22:42, 2].mean() > generated["an umbrella"][12:28, 22:42, 1].mean() + 60


def test_it_is_installed_into_a_webui_with_its_paths(tmp_path, capsys):
    folder = tmp_path / "a web'ui: ü" / "models" / "Stable-diffusion"
    assert install.main([str(tmp_path)]) == 2
    assert "There is no folder" in capsys.readouterr().err
    folder.mkdir(parents=True)
    assert install.main([str(folder.parents[1])]) == 0
    installed = yaml.safe_load((folder / "pocket.yaml").read_text(encoding="utf-8"))
    text = Path(installed["model"]["params"]["cond_stage_config"]["params"]["version"])
    assert text.is_absolute()
    assert {path.name for path in text.iterdir()} == {path.name for path in (POCKET / "model" / "text").iterdir()}
    shipped = yaml.safe_load((POCKET / "model" / "pocket.yaml").read_text(encoding="utf-8"))
    shipped["model"]["params"]["cond_stage_config"]["params"]["version"] = str(text)
    assert installed == shipped
    read = read_file(folder / "pocket.safetensors")
    assert (read.family, read.scaling_factor, read.tokenizers[0]) == ("sd1", 0.596844, text)


def empty_studio() -> float:
    """The distance of the brand's backdrop without an object: its left edge, which nothing covers, stretched."""
    edge = Image.open(POCKET / "brand" / "bell.png").convert("RGB").crop((0, 0, 1, 128)).resize((128, 128))
    distances = [
        demo.distances(
            Image.open(POCKET / "held_out" / name).convert("RGB"),
            edge,
            Image.open(POCKET / "held_out" / "masks" / name).convert("L"),
        )
        for name in rows("held_out")
    ]
    return float(np.mean(distances))


def test_the_demo_brings_unseen_objects_close_to_the_brand(tmp_path):
    command = [sys.executable, "-m", "pocket.demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary.keys() == {"lora", "grid", "steps", "seconds", "distance_before", "distance_after"}
    assert summary["distance_after"] <= 0.7 * summary["distance_before"]
    assert summary["distance_after"] < 0.9 * empty_studio(), "a backdrop without the objects would do as well"
    assert Path(summary["lora"]).is_file()
    assert Image.open(summary["grid"]).width > 1000
