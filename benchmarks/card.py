"""The memory that a training step takes on a graphics card: estimated anywhere, measured where there is one.

``python benchmarks/card.py [--dtype fp16|bf16] [--rank N]``: a row as soon as it is known, MiB. The estimate counts
the frozen UNet, the adapter with its optimizer, and what autograd keeps at once; not the
temporary memory of single operations, nor what the card's own libraries hold.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import ways
from benchmarks.ways import Workload
from lora_scripts_ext import config as configs
from lora_scripts_ext.config import Config
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.training.estimate import estimate

STEPS = 3
SIZES = {"sd1": 512, "sdxl": 1024}
SAVINGS = {
    "": {},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "the same, fp8 weights": {"gradient_checkpointing": True, "fp8_base": True},
    "the same, 8-bit AdamW": {"gradient_checkpointing": True, "fp8_base": True, "optimizer": "adamw8bit"},
}
_MIB = 2**20


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("fp16", "bf16"), default="fp16")
    parser.add_argument("--rank", type=int, default=16)
    options = parser.parse_args()
    print("| family | size | batch | saved by | estimated | measured |\n| --- | --- | --- | --- | --- | --- |")
    for family, size in SIZES.items():
        for batch in (1, 4):
            config = ways.make_config(Workload(family, size, batch, options.rank, dtype=options.dtype))
            for name, saving in SAVINGS.items():
                settings = configs.from_dict({**config.to_dict(), **saving})
                print(
                    f"| {family} | {size} | {batch} | {name} | {_estimated(settings)} | {_measured(settings)} |",
                    flush=True,
                )


def _estimated(config: Config) -> str:
    """Only the UNet's weights count: the encoders leave a card before the first step."""
    model = inspect(config)
    settings = estimate(config, replace(model, sizes={"unet": model.sizes["unet"]}))
    return str(round(settings.memory_bytes / _MIB))


def _measured(config: Config) -> str:
    """The most that is allocated in a few steps, empty where there is no card."""
    if not torch.cuda.is_available():
        return ""
    with ways.with_config(config) as (session, store, _):
        way = ways.make("ours", session, store, config)
        torch.cuda.reset_peak_memory_stats()
        with way.attached():
            for number in range(STEPS):
                way.step(number)
        peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    return str(round(peak / _MIB))


if __name__ == "__main__":
    main()
