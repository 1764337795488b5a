"""What measuring the held-out loss costs, as a share of a training's CPU time.

``python benchmarks/held_out_cost.py [--epochs N] [--set KEY=VALUE ...]``: the pocket model with the demo's settings on
the demo's brand. All that a run does between its first step and its end counts; examining the suggested file is apart.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quality
from lora_scripts_ext import config as configs
from lora_scripts_ext.evaluation.examination import Examination
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import run
from lora_scripts_ext.training.validation import Validation


def main() -> None:
    """Train once, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    pocket = quality.POCKET
    spent = {"held-out loss": 0.0, "examination": 0.0}
    began: list[float] = []

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            began.append(time.process_time())

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(Validation, "_measure", _timed(Validation._measure, spent, "held-out loss")),
        mock.patch.object(Examination, "__init__", _timed(Examination.__init__, spent, "examination")),
        mock.patch.object(Examination, "__call__", _timed(Examination.__call__, spent, "examination")),
    ):
        paths = [f"train_data_dir={pocket / 'brand'}", f"base_model={pocket / 'model' / 'pocket.safetensors'}"]
        settings = [f"output_dir={folder}", f"epochs={options.epochs}", "tensorboard=false", *options.set]
        config = configs.load(pocket.parent / "configs" / "demo.yaml", paths + settings)
        result = run.train(config, StandaloneHost(), report=report)
        whole = time.process_time() - began[0]
    training = whole - sum(spent.values())
    print(
        json.dumps(
            {
                "measurements": len(result.held_out), "seconds": round(whole, 1),
                **{f"{what}, share of training": round(seconds / training, 4) for what, seconds in spent.items()},
            }
        )
    )  # fmt: skip


def _timed(function: Callable[..., Any], spent: dict[str, float], what: str) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[what] += time.process_time() - start

    return timed


if __name__ == "__main__":
    main()
