"""Kill the drawing of a catalogue at random moments until it is done: is an image lost, drawn twice, or another one?

``python benchmarks/catalogue_kill.py [--products 1000] [--candidates 4] [--kills 3] [--compare 20] [--seed 0]``: a list
of products drawn with the pocket model, small and in few steps. Each kill is SIGKILL at a random moment of the drawing.
Afterwards the first products are drawn again without a kill, in another folder, and compared byte for byte. The last
line of stdout is one JSON object; the exit code is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "pocket" / "model" / "pocket.safetensors"
THINGS = ("teapot", "backpack", "guitar", "camera", "umbrella", "trophy", "shoe", "headphones")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Run the kills; returns the exit code."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_list(folder / "list.csv", options.products)
        write_list(folder / "first.csv", min(options.compare, options.products))
        (folder / "rules.yaml").write_text("rules:\n  - name: all\n    loras: []\n")
        started = time.monotonic()
        runs = _kill_until_done(folder, options)
        seconds = time.monotonic() - started
        _run(folder, "first.csv", "whole", options).wait()
        result = check(folder, options) | {"kills": len(runs), "killed_at": runs, "seconds": round(seconds)}
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--compare", type=int, default=20, help="products that are drawn again to be compared")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def write_list(path: Path, count: int) -> None:
    """A list of so many products."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "title", "category", "color"])
        for number in range(count):
            thing = THINGS[number % len(THINGS)]
            writer.writerow([f"P-{number:04d}", f"{thing} {number}", thing, ("red", "blue", "green")[number % 3]])


def check(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """What is wrong with the catalogue in ``folder``/killed, if anything."""
    rows = _rows(folder / "killed")
    files = {path.name: path for path in (folder / "killed/catalogue/candidates").iterdir()}
    names = [name for _, _, name, _ in rows]
    compared = {(sku, number): digest for sku, number, _, digest in _rows(folder / "whole")}
    differ = [key for *key, _, digest in rows if compared.get(tuple(key), digest) != digest]
    found = {
        "images": len(rows), "wanted": options.products * options.candidates, "twice": len(names) - len(set(names)),
        "left_over": len(files.keys() - set(names)), "missing": len(set(names) - files.keys()),
        "compared": len(compared), "differ": len(differ),
    }  # fmt: skip
    wrong = (found["images"] != found["wanted"], found["twice"], found["left_over"], found["missing"], found["differ"])
    return {**found, "ok": not any(wrong) and len(compared) > 0}


def _rows(folder: Path) -> list[tuple[str, int, str, str]]:
    connection = sqlite3.connect(folder / "catalogue/catalogue.sqlite")
    query = (
        "SELECT sku, number, file, sha256 FROM candidates JOIN products ON product = products.id "
        "WHERE candidates.state = 'drawn'"
    )
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def _kill_until_done(folder: Path, options: argparse.Namespace) -> list[int]:
    """Draw, with kills at random numbers of images; returns those numbers."""
    wanted = options.products * options.candidates
    moments = sorted(random.Random(options.seed).sample(range(1, wanted), options.kills))
    at = []
    for moment in moments:
        process = _run(folder, "list.csv", "killed", options)
        while process.poll() is None and _count(folder) < moment:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            at.append(_count(folder))
    if _run(folder, "list.csv", "killed", options).wait():
        raise SystemExit("the last run has failed")
    return at


def _run(folder: Path, products: str, name: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    settings = [f"--set={one}" for one in (f"width={options.side}", f"height={options.side}", f"steps={options.steps}")]
    command = [
        sys.executable, "-m", "lora_scripts_ext", "catalogue", "generate", "--products", str(folder / products),
        "--rules", str(folder / "rules.yaml"), "--channel", "social-square", "--out", str(folder / name),
        "--candidates", str(options.candidates), "--base-model", str(MODEL), "--data-dir", str(folder / "data"),
        *settings,
    ]  # fmt: skip
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _count(folder: Path) -> int:
    candidates = folder / "killed/catalogue/candidates"
    return sum(not path.name.startswith(".") for path in candidates.iterdir()) if candidates.is_dir() else 0


if __name__ == "__main__":
    sys.exit(main())
