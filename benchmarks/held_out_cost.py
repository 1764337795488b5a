"""What measuring the held-out loss costs: the same training with it and without, by CPU time.

``python benchmarks/held_out_cost.py [--epochs N] [--rounds N]``: the pocket model with the demo's settings on the
demo's brand, 38 of whose 42 images are trained on both times. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quality
from lora_scripts_ext import config as configs
from lora_scripts_ext.config import Config
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import run


def main() -> None:
    """Train in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        held_out = _held_out(_config(Path(folder) / "first", options.epochs))
        for number in range(options.rounds):
            seconds = {}
            for kind, unseen in (("with", held_out), ("without", None)):
                config = _config(Path(folder) / f"{kind}-{number}", options.epochs)
                seconds[kind] = _seconds(config, held_out, unseen)
            shares.append(seconds["with"] / seconds["without"] - 1)
            print(f"with {seconds['with']:.2f} s, without {seconds['without']:.2f} s", file=sys.stderr)
    print(json.dumps({"share": round(statistics.median(shares), 4), "rounds": [round(one, 4) for one in shares]}))


def _config(folder: Path, epochs: int) -> Config:
    pocket = quality.POCKET
    paths = [f"train_data_dir={pocket / 'brand'}", f"base_model={pocket / 'model' / 'pocket.safetensors'}"]
    settings = [f"output_dir={folder}", f"epochs={epochs}", "validation_share=0", "tensorboard=false"]
    return configs.load(pocket.parent / "configs" / "demo.yaml", paths + settings)


def _names() -> set[str]:
    return {path.name for path in (quality.POCKET / "brand").glob("*.png")}


def _held_out(config: Config) -> set[str]:
    """Four of the images; this first run is not timed."""
    names = set(sorted(_names())[::11])
    run.train(configs.from_dict({**config.changed(), "max_steps": 1}), StandaloneHost(), names=_names() - names)
    return names


def _seconds(config: Config, held_out: set[str], unseen: set[str] | None) -> float:
    """CPU time from the first step to the last, all that is measured in between included."""
    began: list[float] = []

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            began.append(time.process_time())

    names = _names() if unseen else _names() - held_out
    run.train(config, StandaloneHost(), report=report, names=names, unseen=unseen)
    return time.process_time() - began[0]


if __name__ == "__main__":
    main()
