"""How the time of a step grows with batch, size and rank, and how long it was estimated to take.

``python benchmarks/cost.py [--family sd1|sdxl] [--device D] [--dtype T]``; a row as soon as it is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import ways
from benchmarks.ways import Workload
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.training import speed
from lora_scripts_ext.training.estimate import estimate

ROUNDS = 3
CHANGES = [
    *({"batch": batch} for batch in (1, 2, 4, 8)),
    *({"size": size} for size in (384, 512, 768)),
    *({"rank": rank} for rank in (4, 16, 32, 64, 128)),
]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("auto", "fp32", "fp16", "bf16"), default="auto")
    plain = Workload(**vars(parser.parse_args()))
    print("| batch | size | rank | seconds a step | a picture | estimated |\n| --- | --- | --- | --- | --- | --- |")
    for change in CHANGES:
        workload = replace(plain, **change)
        seconds, estimated = _seconds(workload)
        each = seconds / workload.batch
        row = f"{workload.batch} | {workload.size} | {workload.rank} | {seconds:.2f} | {each:.2f} | {estimated:.2f}"
        print(f"| {row} |", flush=True)


def _seconds(workload: Workload) -> tuple[float, float]:
    """The median of a few steps of ours, after one that is not counted; and the estimate that the page shows."""
    with ways.opened(workload) as (session, store, config):
        estimated = estimate(config, inspect(config))
        rate = speed.flops_per_second(session.model.device, session.model.dtype)
        way, times = ways.make("ours", session, store, config), []
        with way.attached():
            for number in range(1 + ROUNDS):
                ways.wait(session.model.device)
                start = time.perf_counter()
                way.step(number)
                ways.wait(session.model.device)
                times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), estimated.flops / estimated.steps / rate


if __name__ == "__main__":
    main()
