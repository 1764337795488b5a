"""The extension's frame and the pocket model in real WebUIs."""

import base64
import io
import json
import subprocess

import numpy as np
import pytest
from PIL import Image

from pocket import install

from .kinds import marked, python, root
from .server import CHECKOUT, ON_A_CPU, running

# What the WebUI does at its start, and how it reads metadata.ini (both need only its own modules).
START = """
import json, sys
sys.argv = ["launch.py", "--skip-torch-cuda-test", *{flags!r}]
from modules import launch_utils, errors
reported = []
errors.report = lambda text, **_: reported.append(text)
launch_utils.run_extension_installer({path!r})
import configparser, importlib
from modules import extensions
extensions.errors.report = errors.report
metadata = extensions.ExtensionMetadata({path!r}, "lora-trainer")
orders = list(metadata.list_callback_order_instructions())
print(json.dumps({{"reported": reported, "requires": metadata.get_script_requirements("Requires", "Extension"),
                  "orders": len(orders)}}))
"""


@pytest.mark.parametrize("kind", [marked("a1111"), marked("forge"), marked("neo")])
def test_the_webui_runs_the_installer_in_silence_and_reads_the_metadata(kind):
    # Forge looks for its device as soon as its modules are imported.
    command = [str(python(kind)), "-c", START.format(path=str(CHECKOUT), flags=ON_A_CPU[kind])]
    done = subprocess.run(command, cwd=root(kind), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"reported": [], "requires": [], "orders": 0}
    assert "LoRA Trainer" not in done.stdout


@pytest.mark.parametrize("kind", [marked("a1111")])
def test_the_pocket_model_generates_in_the_webui_as_its_read_me_shows(kind, tmp_path):
    folder = tmp_path / "data" / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    assert install.main([str(tmp_path / "data")]) == 0
    with running(kind, folder / "pocket.safetensors", tmp_path / "data") as server:
        options = {"seed": 11, "steps": 12, "width": 128, "height": 128, "sampler_name": "DDIM", "cfg_scale": 4}
        generated = {}
        for prompt in ("a trophy", "an umbrella"):
            png = base64.b64decode(server.post("sdapi/v1/txt2img", prompt=prompt, **options)["images"][0])
            generated[prompt] = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float)
    for image in generated.values():
        assert image.shape == (64, 64, 3)
        assert image[:6].mean() > 215
        assert image[20:44, 20:44].mean() < 200
    # A trophy is golden, an umbrella purple; see tests/test_pocket.py.
    assert generated["a trophy"][10:30, 22:42, 0].mean() > generated["a trophy"][10:30, 22:42, 2].mean() + 60
    assert generated["an umbrella"][12:28, 22:42, 2].mean() > generated["an umbrella"][12:28, 22:42, 1].mean() + 60
