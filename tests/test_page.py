"""The tab and the routes behind it under the very gradio that a WebUI ships, without the WebUI."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from safetensors.torch import load_file

from . import shop
from .page.served import GRADIOS, HERE, launched, python_with, serving

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 12), reason="the WebUIs' packages are for Python 3.10 and 3.11")


class Client:
    """Requests to the double of a WebUI."""

    def __init__(self, port: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder

    def request(self, path: str, method: str = "GET", **body: object) -> tuple[int, str]:
        """Status and text of the answer."""
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def api(self, path: str, method: str = "GET", **body: object) -> dict:
        """The JSON of an answer of the API, which is a success."""
        status, text = self.request(f"lora-trainer/v1/{path}", method, **body)
        assert status < 300, text
        return json.loads(text)

    def page(self) -> dict:
        """What the WebUI's page shows outside of the studio."""
        return json.loads(self.request("lora-trainer/page")[1])

    def train(self, name: str, **changes: object) -> str:
        """The id of a small training that is queued."""
        settings = shop.settings(
            self.folder / "images", self.folder / "tiny.safetensors", self.folder / name, **changes
        )
        return self.api("jobs", "POST", kind="train", config=settings | {"output_name": name})["id"]

    def wait_for(self, job: str, *states: str, step: int = 0) -> dict:
        """The job as soon as it is in one of these states, and has done as many steps."""
        deadline = time.monotonic() + 240
        while (found := self.api(f"jobs/{job}"))["state"] not in states or found["progress"].get("step", 0) < step:
            assert time.monotonic() < deadline and (found["state"] != "failed" or "failed" in states), found
            time.sleep(0.1)
        return found


@pytest.mark.parametrize("gradio", GRADIOS)
def test_the_tab_is_one_element_and_a_training_ends_where_the_webui_lists_its_loras(gradio, tmp_path):
    with serving(gradio, tmp_path) as port:
        client = Client(port, tmp_path)
        assert client.page() == {"notice": None, "made": {}, "running": None, "waiting": []}
        parts = [part["props"].get("value") or "" for part in json.loads(client.request("config")[1])["components"]]
        (tab,) = [text for text in parts if "id='lora_trainer_studio'" in str(text)]
        assert "lora-trainer/studio/" in tab
        status, text = client.request("lora-trainer/studio/")
        assert (status, "<title>LoRA Trainer</title>" in text) == (200, True)
        assert client.api("system")["host"] == "webui"
        job = client.train("brand", epochs=100)
        client.wait_for(job, "running", step=1)
        running = client.page()["running"]
        assert (running["kind"], running["name"]) == ("train", "brand") and 0 < running["share"] < 1
        client.api(f"jobs/{job}/stop", "POST")
        client.wait_for(job, "stopped", "done")
        done = client.wait_for(client.train("short", max_steps=1), "done")
        assert (tmp_path / "Lora" / "short.safetensors").is_file()
        assert client.page()["running"] is None
        assert done["changed"] and list(client.page()["made"]) == ["short"]


def test_a_training_outlives_the_webui_it_was_started_in(tmp_path):
    process, port = launched(GRADIOS[1], tmp_path)
    try:
        client = Client(port, tmp_path)
        jobs = [client.train(name, epochs=40, lora_dropout=0.2) for name in ("long", "next")]
        client.wait_for(jobs[0], "running", step=10)
    finally:
        process.kill()
        process.wait(30)
    process, port = launched(GRADIOS[1], tmp_path)
    try:
        client = Client(port, tmp_path)
        again = client.wait_for(jobs[0], "running", "done")
        assert again["attempt"] == 2
        client.wait_for(jobs[1], "done")
        assert set(client.page()["made"]) == {"long", "next"}
    finally:
        process.terminate()
        process.wait(30)
    loras = [load_file(tmp_path / "Lora" / f"{name}.safetensors") for name in ("long", "next")]
    assert all(loras[0][key].equal(loras[1][key]) for key in loras[1])


def test_trainings_wait_for_their_time_of_day_and_what_someone_waits_for_does_not(tmp_path):
    hour = time.localtime().tm_hour
    closed, now = (f"{(hour + by) % 24:02}:00-{(hour + by + 1) % 24:02}:00" for by in (6, 0))
    settings = {"lora_trainer_start": "only at a time of day", "lora_trainer_window": closed}
    with serving(GRADIOS[0], tmp_path, options=settings) as port:
        client = Client(port, tmp_path)
        waiting = client.train("later")
        options = {"train_data_dir": str(tmp_path / "images"), "resolution": 64}
        client.wait_for(client.api("jobs", "POST", kind="check", config=options)["id"], "done")
        reason = f"Waits for its time of day, {closed}, as the settings say."
        assert client.api(f"jobs/{waiting}")["reason"] == reason
        client.api(f"jobs/{waiting}", "PATCH", window=now)
        client.wait_for(waiting, "done")


@pytest.mark.parametrize("gradio", GRADIOS)
def test_in_a_webui_that_is_not_known_all_is_there_but_training(gradio, tmp_path):
    with serving(gradio, tmp_path, strange=True) as port:
        client = Client(port, tmp_path)
        assert "lora_trainer_studio" in client.request("config")[1]
        assert client.request("lora-trainer/studio/app.js")[0] == 200
        assert client.page()["waiting"] == []
        model = client.api("models", "POST", name="shoe", kind="product", folder=str(tmp_path / "images"))["id"]
        for work, config in (("caption", {"captioner": "names"}), ("check", {})):
            client.wait_for(client.api(f"models/{model}/{work}", "POST", config=config)["id"], "done")
        refused = "Training inside this WebUI is not supported"
        for path, method in ((f"models/{model}/estimate", "GET"), (f"models/{model}/train", "POST")):
            status, text = client.request(f"lora-trainer/v1/{path}", method)
            assert (status, refused in text) == (422, True), text
        assert refused in client.api(f"models/{model}")["problem"]
        config = shop.settings(tmp_path / "images", tmp_path / "tiny.safetensors", tmp_path / "out")
        status, text = client.request("lora-trainer/v1/jobs", "POST", kind="train", config=config)
        assert (status, refused in text) == (422, True), text


def test_where_the_library_cannot_be_opened_the_tab_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with serving(GRADIOS[1], tmp_path, lora_trainer_data_dir=str(tmp_path / "file" / "data")) as port:
        status, text = Client(port, tmp_path).request("lora-trainer/studio/")
        assert status == 200 and text.startswith("<p>LoRA Trainer: ") and str(tmp_path / "file") in text


@pytest.mark.parametrize("gradio", GRADIOS)
def test_where_the_package_cannot_be_imported_the_tab_shows_why(gradio):
    command = [str(python_with(gradio)), str(HERE / "broken.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["title"] == "LoRA Trainer"
    assert any("could not be loaded" in text and "lora_scripts_ext.webui" in text for text in shown["texts"])
