"""Steps of kohya's own ``train_network.py``, run from the user's checkout of sd-scripts on the same files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.ways import Wanted, make_config

_TOKENIZER = Path(__file__).resolve().parents[1] / "lora_scripts_ext" / "assets" / "clip_tokenizer"
_TOKENIZERS = ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
_SCRIPTS = {"sd1": "train_network.py", "sdxl": "sdxl_train_network.py"}
_PRECISION = {"auto": "no", "fp32": "no", "fp16": "fp16", "bf16": "bf16"}
_BAR = re.compile(rb"steps:.*?\| *(\d+)/\d+ \[")


def seconds(checkout: Path, wanted: Wanted, warm_up: int, rounds: int) -> list[float]:
    """Seconds of each measured step, read off its progress bar.

    Raises:
        SystemExit: it failed; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory() as name:
        # Its bar shows the first step when that is over, so one more is made.
        command = _command(checkout, wanted, Path(name), 1 + warm_up + rounds)
        said = Path(name) / "said.txt"
        with said.open("wb") as log:
            process = subprocess.Popen(command, cwd=checkout, stdout=log, stderr=subprocess.PIPE, env=_environment())
            ends = list(_ends(process, log))
        if process.wait():
            sys.stderr.write(said.read_text(errors="replace")[-3000:])
            raise SystemExit(f"{checkout}: {command[1]} failed.")
    taken = [after - before for before, after in pairwise(ends)]
    return taken[warm_up:]


def _ends(process: subprocess.Popen[bytes], log: object) -> Iterator[float]:
    """When each step was over."""
    shown, left = 0, b""
    while chunk := process.stderr.read1(4096):
        now = time.perf_counter()
        log.write(chunk)
        left = (left + chunk)[-4096:]
        found = _BAR.findall(left)
        if found and int(found[-1]) > shown:
            shown = int(found[-1])
            yield now


def _command(checkout: Path, wanted: Wanted, folder: Path, steps: int) -> list[str]:
    config = make_config(wanted)
    named = folder / "pictures" / "1_picture"
    shutil.copytree(config.train_data_dir, named)
    for tokenizer in _TOKENIZERS:
        shutil.copytree(_TOKENIZER, folder / "tokenizers" / tokenizer)
    python = checkout / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    told = {
        "pretrained_model_name_or_path": config.base_model,
        "train_data_dir": named.parent,
        "output_dir": folder / "out",
        "tokenizer_cache_dir": folder / "tokenizers",
        "resolution": f"{wanted.size},{wanted.size}",
        "train_batch_size": wanted.batch,
        "network_module": "networks.lora",
        "network_dim": wanted.rank,
        "network_alpha": wanted.rank,
        "learning_rate": config.learning_rate,
        "optimizer_type": "AdamW",
        "lr_scheduler": "constant",
        "max_train_steps": steps,
        "mixed_precision": _PRECISION[wanted.dtype],
        "max_data_loader_n_workers": 0,
        "caption_extension": ".txt",
        "save_model_as": "safetensors",
        "seed": 1,
    }
    flags = ["network_train_unet_only", "cache_latents", "sdpa"]
    flags += ["gradient_checkpointing"] if wanted.recompute else []
    flags += ["cache_text_encoder_outputs"] if wanted.family == "sdxl" else []
    options = [f"--{key}={value}" for key, value in told.items()] + [f"--{flag}" for flag in flags]
    return [str(python if python.exists() else sys.executable), _SCRIPTS[wanted.family], *options]


def _environment() -> dict[str, str]:
    # Nothing is asked of the hub: the tokenizers are beside it.
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
