"""Memory of a run inside a real WebUI, and the time from Start to its first step.

``python benchmarks/in_webui.py (--a1111 | --forge) DIR [--size N] [--steps N] [--rank N]``: a full-size SD1.5 with
random weights, in float32 on the CPU. The last line of stdout is one JSON object; memory is the resident set in MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import yaml
from PIL import Image
from transformers import CLIPTextConfig

from benchmarks import models


def main() -> int:
    """Make what is needed, run the WebUI's own Python, hand its answer on."""
    options = _parser().parse_args()
    kind = "forge" if options.forge else "a1111"
    webui = Path(options.forge or options.a1111).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = {
            "train_data_dir": str(_pictures(folder / "pictures", options.pictures, options.size)),
            "base_model": str(_checkpoint(folder, webui, kind)),
            "output_dir": str(folder / "out"),
            "resolution": options.size,
            "lora_rank": options.rank,
            "max_steps": options.steps,
            "tensorboard": False,
        }
        asked = folder / "run.json"
        asked.write_text(json.dumps(told))
        python = webui / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        inside = Path(__file__).with_name("inside_webui.py")
        command = [str(python), str(inside), kind, "measure", told["base_model"], str(folder), str(asked)]
        return subprocess.call(command, cwd=webui)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--a1111", metavar="DIR", help="folder of AUTOMATIC1111 v1.10.1, with its venv")
    which.add_argument("--forge", metavar="DIR", help="folder of Forge, with its venv")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=10)
    return parser


def _pictures(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"picture {index}")
    return folder


def _checkpoint(folder: Path, webui: Path, kind: str) -> Path:
    """The checkpoint; for A1111 with its inference yaml, which would look for the text encoder on a hub."""
    path = models.write_checkpoint(folder / "sd15.safetensors", "sd1")
    if kind == "forge":
        return path
    text = folder / "text"
    shutil.copytree(ROOT / "lora_scripts_ext" / "assets" / "clip_tokenizer", text)
    (text / "config.json").write_text(CLIPTextConfig(**models.CLIP_L).to_json_string())
    told = yaml.safe_load((webui / "configs" / "v1-inference.yaml").read_text(encoding="utf-8"))
    told["model"]["params"]["cond_stage_config"]["params"] = {"version": str(text)}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
