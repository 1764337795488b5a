"""Kill the worker and its jobs at random moments until the queue is done: is anything lost, or done twice?

``python benchmarks/kill_queue.py [--jobs 20] [--kills 100] [--seed 0] [--spare-jobs]``: jobs of the pocket model, one
with a folder that does not exist in the middle. Each kill is SIGKILL to the worker and every process below it; with
``--spare-jobs`` to the worker alone. The last line of stdout is one JSON object; the exit code is 1 where something is
wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml

from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.queue import Queue

COMMAND = [sys.executable, "-m", "lora_scripts_ext"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Run the kills; returns the exit code."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = write_configs(folder, options)
        run("jobs", "add", *map(str, configs), "--data-dir", str(folder / "data"))
        started = time.monotonic()
        kills = _kill_until_done(folder / "data", options)
        result = check(folder, options) | {"kills": kills, "seconds": round(time.monotonic() - started)}
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--longest", type=float, default=30.0, help="seconds a worker lives at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spare-jobs", action="store_true", help="kill the worker alone")
    return parser


def write_configs(folder: Path, options: argparse.Namespace) -> list[Path]:
    """A config for each job; all but the bad one train the same."""
    paths = []
    for number in range(options.jobs):
        images = ROOT / "pocket" / "brand" if number != options.jobs // 2 else folder / "nowhere"
        config = {
            "train_data_dir": str(images), "base_model": str(ROOT / "pocket" / "model" / "pocket.safetensors"),
            "output_dir": str(folder / "out" / f"job{number:02d}"), "output_name": "brand", "resolution": 64,
            "bucket_step": 32, "lora_rank": 4, "batch_size": 4, "epochs": 100, "max_steps": options.steps,
            "learning_rate": 1e-3, "tensorboard": False, "device": "cpu", "cache_dir": str(folder / "cache"),
        }  # fmt: skip
        paths.append(folder / f"job{number:02d}.yaml")
        paths[-1].write_text(yaml.safe_dump(config), encoding="utf-8")
    return paths


def _kill_until_done(data_dir: Path, options: argparse.Namespace) -> int:
    """Start workers and kill them at random moments; the last one may end by itself."""
    generator, kills = random.Random(options.seed), 0
    with (data_dir / "workers.log").open("ab") as log:
        while True:
            worker = subprocess.Popen(
                [*COMMAND, "worker", "--until-empty", "--data-dir", str(data_dir)], env=ENVIRONMENT,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                worker.wait(generator.uniform(0.2, options.longest) if kills < options.kills else None)
                return kills
            except subprocess.TimeoutExpired:
                if options.spare_jobs:
                    worker.kill()
                else:
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
                kills += 1


def check(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Whether every job has ended once, with the bytes of a run that was never killed."""
    queue = Queue(Database(folder / "data"))
    jobs = queue.page(limit=1000).jobs
    ends = {job.id: [change.state for change in queue.changes(job.id)].count("done") for job in jobs}
    states = {state: sum(job.state == state for job in jobs) for state in {job.state for job in jobs}}
    hashes = {_weights(Path(job.result["lora"])) for job in jobs if job.state == "done"}
    reference = _reference(folder)
    expected = {"done": options.jobs - 1, "failed": 1}
    return {
        "ok": states == expected and hashes == {reference} and set(ends.values()) <= {0, 1},
        "states": states,
        "attempts": sorted(job.fence for job in jobs),
        "same_bytes": hashes == {reference},
        "bad": next((job.reason for job in jobs if job.state == "failed"), ""),
    }


def _reference(folder: Path) -> str:
    """The weights of the same training, done at once."""
    out = folder / "reference"
    config = str(folder / "job00.yaml")
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--config", config, "--set", f"output_dir={out}"],
        env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return _weights(out / "brand.safetensors")


def _weights(path: Path) -> str:
    """A hash of the tensors: the header holds the time of the run."""
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little")
    return hashlib.sha256(content[8 + header :]).hexdigest()


def run(*arguments: str) -> None:
    subprocess.run([*COMMAND, *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
