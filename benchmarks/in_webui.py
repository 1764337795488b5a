"""Memory of a run inside a real WebUI, and the time from Start to its first step.

``python benchmarks/in_webui.py (--a1111 | --forge | --neo) DIR [--family F] [--size N] [--steps N] [--rank N]``: a
full-size model with random weights, in float32 on the CPU. The last line of stdout is one JSON object; memory is the
resident set in MiB.

In Forge and Neo also ``--gpu``, and with it ``--gpu-weights MIB``, beyond which weights wait in the computer's memory
(Forge's slider; in Neo, memory that is kept free); ``--low-bits float8-e4m3fn`` (Diffusion in Low Bits) and
``--recompute`` (gradient checkpointing). What follows ``--`` are further flags of the WebUI. The exit code is 1 where
the run changes the WebUI's images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("a1111", "forge", "neo")
sys.path.insert(0, str(ROOT))

import numpy as np
from PIL import Image

from benchmarks import models
from tests.webui import checkpoints


def main() -> int:
    """Write model and images, run the WebUI's own Python, pass its output on."""
    options = _parser().parse_args()
    kind, folder_of_webui = next((one, found) for one in KINDS if (found := getattr(options, one)))
    webui = Path(folder_of_webui).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = {
            "train_data_dir": str(_images(folder / "images", options.pictures, options.size)),
            "base_model": str(_checkpoint(folder, webui, kind, options.family)),
            "output_dir": str(folder / "out"),
            "resolution": options.size,
            "lora_rank": options.rank,
            "max_steps": options.steps,
            "tensorboard": False,
            "gradient_checkpointing": options.recompute,
        }
        run_file = folder / "run.json"
        run_file.write_text(json.dumps({"run": values, "gpu_weights": options.gpu_weights}))
        (folder / "webui").mkdir()
        (folder / "webui" / "config.json").write_text(json.dumps({"forge_unet_storage_dtype": options.low_bits}))
        python = webui / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        inside = Path(__file__).with_name("inside_webui.py")
        command = [str(python), str(inside), kind, "measure", values["base_model"], str(folder), str(run_file)]
        command += options.flags
        device = {"WEBUI_DEVICE": "cuda" if options.gpu else "cpu"}
        done = subprocess.run(command, cwd=webui, env={**os.environ, **device}, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="")
        if done.returncode:
            return done.returncode
        return 0 if json.loads(done.stdout.splitlines()[-1])["picture_as_before"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--a1111", metavar="DIR", help="folder of AUTOMATIC1111 v1.10.1, with its venv")
    which.add_argument("--forge", metavar="DIR", help="folder of Forge, with its venv")
    which.add_argument("--neo", metavar="DIR", help="folder of Forge Neo, with its venv")
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1", help="SDXL in Forge and Neo only")
    parser.add_argument("--gpu", action="store_true", help="Forge or Neo on the graphics card")
    parser.add_argument(
        "--gpu-weights", type=int, default=0, metavar="MIB", help="weights on the card; 0 leaves it to the WebUI"
    )
    parser.add_argument("--low-bits", default="Automatic", help="the setting of the name")
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("flags", nargs="*", help="of the WebUI")
    return parser


def _images(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"image {index}")
    return folder


def _checkpoint(folder: Path, webui: Path, kind: str, family: str) -> Path:
    if family == "sd1":
        return checkpoints.write_full(folder, webui, kind)
    return models.write_checkpoint(folder / f"{family}.safetensors", family)


if __name__ == "__main__":
    sys.exit(main())
