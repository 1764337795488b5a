"""A real WebUI with this checkout as its extension, on a port of its own, in a data folder of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from . import kinds

CHECKOUT = Path(__file__).resolve().parents[2]
FLAGS = ["--skip-torch-cuda-test", "--skip-prepare-environment", "--skip-version-check",
         "--disable-console-progressbars", "--api"]  # fmt: skip
ON_A_CPU = {
    "a1111": ["--use-cpu", "all", "--no-half", "--no-download-sd-model"],
    "forge": ["--always-cpu"],
    "neo": ["--cpu", "--skip-python-version-check"],
}
#: the WebUIs take eight pixels a latent cell for granted; A1111's tiny model has two
SIDES = {"a1111": 256, "forge": 64, "neo": 64}
_BOOT_SECONDS = 300


class Server:
    """A WebUI that runs."""

    def __init__(self, kind: str, port: int, data: Path) -> None:
        self.kind = kind
        self.url = f"http://127.0.0.1:{port}"
        self.data = data

    def open(self, path: str) -> Any:
        """The response to a GET."""
        return urllib.request.urlopen(f"{self.url}/{path}", timeout=120)

    def get(self, path: str) -> Any:
        """The JSON of the response to a GET."""
        with self.open(path) as response:
            return json.loads(response.read())

    def post(self, path: str, **body: Any) -> Any:
        """The JSON of the response to a POST of *body*."""
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, kind)
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.loads(response.read())

    def txt2img(self, prompt: str) -> str:
        """Hash of the pixels of an image of fixed seed; the file would hold the prompt, too."""
        side = SIDES[self.kind]
        options = {"prompt": prompt, "seed": 7, "steps": 4, "width": side, "height": side, "sampler_name": "Euler"}
        png = base64.b64decode(self.post("sdapi/v1/txt2img", **options)["images"][0])
        return hashlib.sha256(Image.open(io.BytesIO(png)).convert("RGB").tobytes()).hexdigest()

    def send(self, method: str, path: str, **body: Any) -> Any:
        """The JSON that a route of the trainer's API responds with."""
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"} if body else {}
        url = f"{self.url}/lora-trainer/v1/{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read() or b"null")

    def train(self, config: dict[str, Any]) -> str:
        """The id of a training that is queued."""
        return str(self.send("POST", "jobs", kind="train", config=config)["id"])

    def job(self, id: str) -> dict[str, Any]:
        """A job as it is now."""
        return self.send("GET", f"jobs/{id}")

    def wait_until_back(self, seconds: float = 120) -> None:
        """Wait until the server responds again."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.send("GET", "queue")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert time.monotonic() < deadline, (self.data / "log.txt").read_text()[-3000:]
                time.sleep(0.5)

    def wait_for(self, id: str, *states: str, step: int = 0, seconds: float = 600) -> dict[str, Any]:
        """The job as soon as it has one of these *states*, and has done as many steps."""
        deadline = time.monotonic() + seconds
        while (job := self.job(id))["state"] not in states or job["progress"].get("step", 0) < step:
            assert time.monotonic() < deadline and (job["state"] != "failed" or "failed" in states), job
            time.sleep(0.1)
        return job

    def stop(self, id: str) -> dict[str, Any]:
        """The job once it has saved and stopped."""
        self.send("POST", f"jobs/{id}/stop")
        return self.wait_for(id, "stopped")


@contextlib.contextmanager
def running(kind: str, checkpoint: Path, data: Path, *flags: str) -> Iterator[Server]:
    """The WebUI with *checkpoint* loaded; it keeps its own things in *data*, an empty folder or none."""
    (data / "extensions").mkdir(parents=True, exist_ok=True)
    (data / "extensions" / "lora-trainer").symlink_to(CHECKOUT, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(kinds.python(kind)),
        "launch.py",
        *FLAGS,
        *ON_A_CPU[kind],
        # Forge serves its own scripts only where they are in the data folder.
        *(["--gradio-allowed-path", str(kinds.root(kind))] if kind != "a1111" else []),
        *flags,
        "--data-dir",
        str(data),
        *kinds.choosing(kind, checkpoint),
        "--port",
        str(port),
    ]
    with (data / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=kinds.root(kind), stdout=log, stderr=subprocess.STDOUT)
        try:
            server = Server(kind, port, data)
            _await_boot(server, process, checkpoint)
            yield server
        finally:
            process.terminate()
            process.wait(30)


def _await_boot(server: Server, process: subprocess.Popen[bytes], checkpoint: Path) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, (server.data / "log.txt").read_text()[-3000:]
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            server.send("GET", "queue")
            if server.kind == "neo":
                server.post("sdapi/v1/options", sd_model_checkpoint=checkpoint.name)
            server.txt2img("warm")
            return
        time.sleep(1)
    raise AssertionError((server.data / "log.txt").read_text()[-3000:])
