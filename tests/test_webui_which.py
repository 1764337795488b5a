"""Which WebUI this is, recognised by the files in its folder."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
sys.path[:0] = [{folder!r}, {root!r}]
from lora_scripts_ext.hosts.webui import which
which.importlib.import_module = lambda name, package: name
print(which.model_module())
"""
A1111 = ["modules/sd_hijack.py", "modules/lowvram.py"]


@pytest.mark.parametrize(
    ("files", "printed"),
    [
        (["modules_forge/__init__.py", "backend/nn/unet.py"], ".forge.host"),
        (["modules_forge/packages/huggingface_guess/__init__.py", "backend/loader.py"], ".forge.host"),
        (["modules_forge/__init__.py", "ldm_patched/__init__.py"], "inside Forge Classic or reForge is not"),
        ([*A1111, "modules/processing_diffusers.py"], "inside SD.Next is not"),
        (A1111, ".a1111.host"),
        (["modules/other.py"], "inside this WebUI is not"),
    ],
)
def test_each_webui_is_recognised_by_its_files(files, printed, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    command = [sys.executable, "-c", PROGRAM.format(folder=str(tmp_path), root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert printed in (done.stdout or done.stderr)
