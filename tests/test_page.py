"""The tab under the very gradio that a WebUI ships, without the WebUI: built, filled in, started."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from lora_scripts_ext.commands import train

from . import shop
from .page.served import GRADIOS, HERE, ROOT, launched, python_with, serving

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 12), reason="the WebUIs' packages are for Python 3.10 and 3.11")


class Page:
    """The tab, served; its parts are called by their elem_id."""

    def __init__(self, port: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.config = self.request_json("config")
        self.parts = {part["props"]["elem_id"]: part for part in self.config["components"] if _named(part)}

    def request_json(self, path: str, **body: object) -> dict:
        """The JSON of a GET, or of a POST with a body."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read())

    def held(self) -> dict[str, object]:
        """What every part holds when the page opens."""
        return {name: part["props"].get("value") for name, part in self.parts.items()}

    def does(self, name: str, values: dict[str, object], event: str = "click") -> dict[str, object]:
        """What the page holds after *event* on a part, having held *values*."""
        index, call = next(
            (index, call)
            for index, call in enumerate(self.config["dependencies"])
            if (self.parts[name]["id"], event) in _triggers(call)
        )
        names = {part["id"]: elem_id for elem_id, part in self.parts.items()}
        data = [values[names[part]] for part in call["inputs"]]
        response = self.request_json("run/predict", fn_index=index, data=data, session_hash="test")
        new = {}
        for part, value in zip(call["outputs"], response["data"], strict=True):
            updated = isinstance(value, dict) and value.get("__type__") == "update"
            if not updated or "value" in value:
                new[names[part]] = value["value"] if updated else value
        return values | new


def _triggers(call: dict) -> list[tuple[int, str]]:
    """Parts and events that make the call; gradio 3 names the event once."""
    return [(target, call["trigger"]) if isinstance(target, int) else tuple(target) for target in call["targets"]]


def _named(part: dict) -> bool:
    return bool(part["props"].get("elem_id"))


@pytest.fixture(scope="module", params=GRADIOS)
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with serving(request.param, folder) as port:
        yield Page(port, folder)


def form(page: Page, **changes: object) -> dict[str, object]:
    """The page after a small run's settings were read from YAML."""
    settings = shop.settings(page.folder / "images", page.folder / "tiny.safetensors", page.folder / "out", **changes)
    return page.does("lt_import", page.held() | {"lt_yaml": yaml.safe_dump(settings)})


def test_every_field_explains_itself_and_holds_a_preset(page):
    held = page.held()
    preset = yaml.safe_load((ROOT / "configs" / "brand_style.yaml").read_text(encoding="utf-8"))
    assert held["lt_lora_rank"] == preset["lora_rank"]
    fields = [part["props"] for name, part in page.parts.items() if "info" in part["props"]]
    assert len([props for props in fields if props["info"]]) >= 40


def test_another_kind_of_subject_fills_in_its_preset_and_keeps_the_image_folder(page):
    typed = page.held() | {"lt_train_data_dir": "/images", "lt_kind": "A car", "lt_epochs": 3}
    changed = page.does("lt_kind", typed, "change")
    preset = yaml.safe_load((ROOT / "configs" / "car.yaml").read_text(encoding="utf-8"))
    assert (changed["lt_epochs"], changed["lt_lora_rank"]) == (preset["epochs"], preset["lora_rank"])
    assert changed["lt_train_data_dir"] == "/images"


def test_a_config_exported_from_the_tab_imports_to_the_same_form(page):
    filled = form(page, output_name="brand", lora_rank=5, min_snr_gamma=5.0, preview_prompts=["a", "b"])
    again = yaml.safe_load(page.does("lt_export", filled)["lt_yaml"])
    expected = {"lora_rank": 5, "min_snr_gamma": 5.0, "preview_prompts": ["a", "b"], "learning_rate": 1e-3}
    assert {key: again[key] for key in expected} == expected
    assert page.does("lt_import", filled | {"lt_yaml": yaml.safe_dump(again)})["lt_lora_rank"] == 5


def test_a_config_exported_from_the_tab_runs_headless(page, capsys):
    exported = page.does("lt_export", form(page, output_name="headless", max_steps=2))
    file = page.folder / "headless.yaml"
    file.write_text(exported["lt_yaml"], encoding="utf-8")
    assert train.main(["--config", str(file)]) == 0
    assert Path(json.loads(capsys.readouterr().out.splitlines()[-1])["lora"]).name == "headless.safetensors"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lt_train_data_dir": ""}, "train_data_dir is missing"),
        ({"lt_output_name": "a/b"}, "output_name is &#x27;a/b&#x27;"),
        ({"lt_lora_rank": 0}, "lora_rank is 0"),
        ({"lt_train_data_dir": "/nowhere"}, "/nowhere"),
        ({"lt_optimizer_args": "{a: [}"}, "optimizer_args"),
    ],
)
def test_a_mistake_is_a_sentence(page, changes, sentence):
    checked = page.does("lt_look", form(page) | changes)
    assert "class='lt_bad'" in checked["lt_pictures"]
    assert sentence in checked["lt_pictures"]
    assert "Traceback" not in checked["lt_pictures"]


def test_images_are_shown_and_a_click_on_start_trains_a_lora(page):
    filled = form(page, output_name="brand", preview_epochs=1, preview_steps=1)
    estimate = page.does("lt_look", filled)["lt_pictures"]
    assert "6 images, 6 steps (3 per epoch). About" in estimate
    assert estimate.count("<figure>") == 6
    path = urllib.parse.quote(str(page.folder / "images" / "00.png"))
    with urllib.request.urlopen(f"{page.url}/lora-trainer/picture?path={path}", timeout=60) as response:
        assert response.headers["Content-Type"] == "image/png"
    assert "lt_good" in page.does("lt_start", filled)["lt_message"]
    deadline = time.monotonic() + 120
    while (report := page.request_json("lora-trainer/report"))["status"] not in ("done", "failed"):
        assert time.monotonic() < deadline, report
        time.sleep(0.2)
    assert report["status"] == "done", report
    assert report["notice"] is None
    assert (page.folder / "Lora" / "brand.safetensors").is_file()
    assert len(report["previews"]) >= 2


def test_a_training_outlives_the_webui_it_was_started_in(tmp_path):
    process, port = launched(GRADIOS[1], tmp_path)
    try:
        page = Page(port, tmp_path)
        for name in ("long", "next"):
            page.does("lt_start", form(page, output_name=name, epochs=40, lora_dropout=0.2))
        wait_for(page, lambda report: report.get("step", 0) >= 10)
    finally:
        process.kill()
        process.wait(30)
    process, port = launched(GRADIOS[1], tmp_path)
    try:
        page = Page(port, tmp_path)
        report = wait_for(page, lambda report: report["status"] == "training")
        assert (report["name"], [job["name"] for job in report["waiting"]]) == ("long", ["next"])
        wait_for(page, lambda report: set(report["made"]) == {"long", "next"})
    finally:
        process.terminate()
        process.wait(30)
    loras = [load_file(tmp_path / "Lora" / f"{name}.safetensors") for name in ("long", "next")]
    assert all(loras[0][key].equal(loras[1][key]) for key in loras[1])


def test_resume_continues_the_stopped_training_whatever_the_form_holds(tmp_path):
    with serving(GRADIOS[0], tmp_path) as port:
        page = Page(port, tmp_path)
        assert "no stopped training" in page.does("lt_resume", page.held())["lt_message"]
        page.does("lt_start", form(page, output_name="kept", epochs=100, seed=9))
        wait_for(page, lambda report: report.get("step", 0) >= 3)
        page.does("lt_stop", page.held())
        stopped = wait_for(page, lambda report: report["status"] == "stopped")
        fresh = Page(port, tmp_path)
        assert "kept continues" in fresh.does("lt_resume", fresh.held())["lt_message"]
        again = wait_for(fresh, lambda report: report["status"] == "training")
        assert again["name"] == "kept" and again["step"] >= stopped["step"]
        page.does("lt_stop", page.held())
        wait_for(page, lambda report: report["status"] == "stopped")


def wait_for(page: Page, reached) -> dict:
    """The report as soon as it is as ``reached`` wants it."""
    deadline = time.monotonic() + 240
    while not reached(report := page.request_json("lora-trainer/report")):
        assert time.monotonic() < deadline and report["status"] != "failed", report
        time.sleep(0.1)
    return report


@pytest.mark.parametrize("gradio", GRADIOS)
def test_where_the_package_cannot_be_imported_the_tab_shows_why(gradio):
    command = [str(python_with(gradio)), str(HERE / "broken.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["title"] == "LoRA Trainer"
    assert any("could not be loaded" in text and "lora_scripts_ext.webui" in text for text in shown["texts"])
