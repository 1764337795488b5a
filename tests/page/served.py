"""The tab, served under the very gradio that a WebUI ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from tests import models, shop

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GRADIOS = ["3.41.2", "4.40.0"]


def python_with(gradio: str) -> Path:
    """A Python that has this gradio, and for the rest what this one has; created once."""
    folder = ROOT / ".venv-gradio" / f"{gradio}-{sys.version_info.major}.{sys.version_info.minor}"
    requirements = HERE / f"gradio-{gradio}.txt"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    # Two test processes may want it at once.
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not stamp.exists() or stamp.read_text() != requirements.read_text():
            _install(folder, python, requirements)
            stamp.write_text(requirements.read_text())
    return python


def _install(folder: Path, python: Path, requirements: Path) -> None:
    venv.create(folder, with_pip=True, clear=True)
    constraints = folder / "constraints.txt"
    # transformers, which comes from this Python, takes no newer one.
    constraints.write_text(f"huggingface_hub=={version('huggingface_hub')}\n")
    install = [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*install, "-r", str(requirements), "-c", str(constraints)], check=True)
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    # Last on the path: what is installed in the new one wins.
    (Path(own) / "zz-rest.pth").write_text(sysconfig.get_path("purelib") + "\n")


def launched(gradio: str, folder: Path, login: str = "", **flags: object) -> tuple[subprocess.Popen[str], int]:
    """The server's process and port; ``folder`` gets ``images`` and ``tiny.safetensors``, and ``Lora`` what is trained.

    ``login`` is ``user:password`` of the page; ``flags`` are what the WebUI was started with.
    """
    model = folder / "tiny.safetensors"
    if not model.exists():
        shop.write_images(folder / "images")
        models.write_checkpoint(model, "sd1")
    command = [str(python_with(gradio)), str(HERE / "serve.py"), str(model), str(folder), login, json.dumps(flags)]
    quiet = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=quiet)
    assert process.stdout is not None
    port = process.stdout.readline()
    assert port, (folder / "log.txt").read_text()[-3000:]
    return process, int(port)


@contextmanager
def serving(gradio: str, folder: Path, login: str = "", **flags: object) -> Iterator[int]:
    """The tab's port; see :func:`launched`."""
    process, port = launched(gradio, folder, login, **flags)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)
