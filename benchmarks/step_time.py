"""Time and memory of a training step: the floor, ours, and PEFT's, interleaved in one process on the same weights.

``python benchmarks/step_time.py [--family sd1|sdxl] [--size N] [--batch N] [--rank N] [--device D] [--dtype T]
[--pictures N] [--recompute] [--sd-scripts DIR] [--json]``

The floor is what no LoRA can avoid as torch computes it: the frozen UNet's forward and its backward through
activations. Ours is the real loop's step, data, noise, clipping and optimizer included; on a CUDA card it is also
replayed from a graph. PEFT's is the usual recipe: inject, mean squared error, clip, AdamW. With ``--sd-scripts``
kohya's own ``train_network.py`` takes its steps in a process of its own, before and after the others. Ratios are
taken pair by pair. Memory is measured afterwards, each way in a process of its own: the resident set on a CPU, what
is allocated on the card on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import graphs, kohya, ways
from benchmarks.memory import Peak
from benchmarks.ways import Way, Workload

ROUNDS = 7
WARM_UP = 2
_MEMORY_STEPS = 3


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    workload = Workload(**{field.name: getattr(options, field.name) for field in fields(Workload)})
    if options.memory_of:
        print(_peak_mib(workload, options.memory_of))
        return
    theirs = []
    if options.sd_scripts:
        theirs += kohya.seconds(options.sd_scripts.resolve(), workload, WARM_UP, ROUNDS)
    with ways.opened(workload) as (session, store, config):
        by_name = {name: ways.make(name, session, store, config) for name in ways.NAMES}
        if session.model.device.type == "cuda":
            by_name["graph"] = graphs.graphed(session, store, config)
        seconds = _measure(by_name, session.model.device)
        device, held = session.model.device, ways.kib_an_image(store)
    if options.sd_scripts:
        theirs += kohya.seconds(options.sd_scripts.resolve(), workload, WARM_UP, ROUNDS)
    memory = {} if options.no_memory else {f"{name}_mib": _in_own_process(name) for name in ways.NAMES}
    report = {**asdict(workload), "device": str(device), **_report(seconds, theirs), **memory, "kib_a_picture": held}
    report |= _about(device)
    print(json.dumps(report) if options.json else "\n".join(f"{key}: {value}" for key, value in report.items()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("auto", "fp32", "fp16", "bf16"), default="auto")
    parser.add_argument("--pictures", type=int, default=0, help="in the training set; 0 takes four batches")
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing, in all of them")
    parser.add_argument(
        "--sd-scripts", type=Path, metavar="DIR", help="kohya's checkout; its venv is used if it has one"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory, which takes half of the time")
    parser.add_argument("--memory-of", choices=ways.NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser


def _measure(by_name: dict[str, Way], device: torch.device) -> dict[str, list[float]]:
    """Seconds of every measured step; the ways take turns, so that what else the machine does hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in by_name}
    for number in range(WARM_UP + ROUNDS):
        for name, way in ways.rotated(by_name, number):
            with way.attached():
                ways.wait(device)
                start = time.perf_counter()
                way.step(number)
                ways.wait(device)
                if number >= WARM_UP:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def _report(seconds: dict[str, list[float]], theirs: list[float]) -> dict[str, object]:
    def ratio(one: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)), 3)

    report: dict[str, object] = {f"{name}_s": round(statistics.median(times), 4) for name, times in seconds.items()}
    report |= {"ours_to_floor": ratio("ours", "floor"), "peft_to_floor": ratio("peft", "floor")}
    report |= {"ours_to_peft": ratio("ours", "peft")}
    report |= {"graph_to_floor": ratio("graph", "floor")} if "graph" in seconds else {}
    if theirs:
        kohyas = statistics.median(theirs)
        ours = statistics.median(seconds["ours"])
        report |= {"sd_scripts_s": round(kohyas, 4), "ours_to_sd_scripts": round(ours / kohyas, 3)}
    return report


def _in_own_process(name: str) -> int:
    command = [sys.executable, __file__, *(one for one in sys.argv[1:] if one != "--json"), "--memory-of", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


def _peak_mib(workload: Workload, name: str) -> int:
    """The largest memory of a few steps, the model's included."""
    with ways.opened(workload) as (session, store, config):
        way, device = ways.make(name, session, store, config), session.model.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        peak = Peak()
        with way.attached():
            for number in range(_MEMORY_STEPS):
                way.step(number)
        largest = peak.end()
        return round((torch.cuda.max_memory_allocated(device) if device.type == "cuda" else largest) / 2**20)


def _about(device: torch.device) -> dict[str, object]:
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"rounds": ROUNDS, "torch": torch.__version__, "threads": torch.get_num_threads(), "card": card}


if __name__ == "__main__":
    main()
