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

from benchmarks.ways import Workload, make_config

_TOKENIZER = Path(__file__).resolve().parents[1] / "lora_scripts_ext" / "assets" / "clip_tokenizer"
_TOKENIZERS = ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
_SCRIPTS = {"sd1": "train_network.py", "sdxl": "sdxl_train_network.py"}
_PRECISION = {"auto": "no", "fp32": "no", "fp16": "fp16", "bf16": "bf16"}
_BAR = re.compile(rb"steps:.*?\| *(\d+)/\d+ \[")


def seconds(checkout: Path, workload: Workload, warm_up: int, rounds: int) -> list[float]:
    """Seconds of each measured step, read off its progress bar.

    Raises:
        SystemExit: it failed; its output is on stderr.
    """
    with tempfile.TemporaryDirectory() as name:
        # Its bar shows the first step when that is over, so one more is run.
        command = _command(checkout, workload, Path(name), 1 + warm_up + rounds)
        output = Path(name) / "output.txt"
        with output.open("wb") as log:
            process = subprocess.Popen(command, cwd=checkout, stdout=log, stderr=subprocess.PIPE, env=_environment())
            ends = list(_ends(process, log))
        if process.wait():
            sys.stderr.write(output.read_text(errors="replace")[-3000:])
            raise SystemExit(f"{checkout}: {command[1]} failed.")
    durations = [after - before for before, after in pairwise(ends)]
    return durations[warm_up:]


def _ends(process: subprocess.Popen[bytes], log: object) -> Iterator[float]:
    """When each step was over."""
    shown, left = 0, b""
    while chunk := process.stderr.read1(4096):
        now = time.perf_counter()
        log.write(chunk)
        left = (left + chunk)[-4096:]
        steps_shown = _BAR.findall(left)
        if steps_shown and int(steps_shown[-1]) > shown:
            shown = int(steps_shown[-1])
            yield now


def _command(checkout: Path, workload: Workload, folder: Path, steps: int) -> list[str]:
    config = make_config(workload)
    named = folder / "images" / "1_image"
    shutil.copytree(config.train_data_dir, named)
    for tokenizer in _TOKENIZERS:
        shutil.copytree(_TOKENIZER, folder / "tokenizers" / tokenizer)
    python = checkout / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    arguments = {
        "pretrained_model_name_or_path": config.base_model,
        "train_data_dir": named.parent,
        "output_dir": folder / "out",
        "tokenizer_cache_dir": folder / "tokenizers",
        "resolution": f"{workload.size},{workload.size}",
        "train_batch_size": workload.batch,
        "network_module": "networks.lora",
        "network_dim": workload.rank,
        "network_alpha": workload.rank,
        "learning_rate": config.learning_rate,
        "optimizer_type": "AdamW",
        "lr_scheduler": "constant",
        "max_train_steps": steps,
        "mixed_precision": _PRECISION[workload.dtype],
        "max_data_loader_n_workers": 0,
        "caption_extension": ".txt",
        "save_model_as": "safetensors",
        "seed": 1,
    }
    flags = ["network_train_unet_only", "cache_latents", "sdpa"]
    flags += ["gradient_checkpointing"] if workload.recompute else []
    flags += ["cache_text_encoder_outputs"] if workload.family == "sdxl" else []
    options = [f"--{key}={value}" for key, value in arguments.items()] + [f"--{flag}" for flag in flags]
    return [str(python if python.exists() else sys.executable), _SCRIPTS[workload.family], *options]


def _environment() -> dict[str, str]:
    # Nothing is requested from the hub: the tokenizers are beside it.
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
