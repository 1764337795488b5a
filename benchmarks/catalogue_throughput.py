"""Images a second of the catalogue's drawing, against the same host's own batch.

``python benchmarks/catalogue_throughput.py [--a1111 DIR | --forge DIR | --neo DIR] [--seeds N] [--steps N] [--size N]
[--rounds N] [--base-model FILE]``: without a WebUI the standalone host, whose sampler and VAE are called directly for
comparison; in a WebUI its own ``process_images``, with the LoRA in the prompt. Without ``--base-model`` the pocket
model, in a WebUI a small one that the tests make.

Both sides draw in turns; ``own`` and ``ours`` are by the medians of their rounds, ``ratio`` is the median of the
rounds' ratios. The last line of stdout is one JSON object; the exit code is 1 where ``ratio`` is below 0.95.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("a1111", "forge", "neo")
LEAST = 0.95
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from lora_scripts_ext.contract import Target


def main() -> int:
    """Measure, and print what was measured."""
    options = _parser().parse_args()
    webui = next(((kind, folder) for kind in KINDS if (folder := getattr(options, kind))), None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = _standalone(folder, options) if webui is None else _inside(*webui, folder, options)
    print(json.dumps(result))
    return 0 if result["ratio"] >= LEAST else 1


def compared(own: Callable[[], object], ours: Callable[[], object], images: int, rounds: int) -> dict[str, float]:
    """Images a second of both; the first round of each, which loads, does not count."""
    seconds: dict[str, list[float]] = {"own": [], "ours": []}
    for number in range(rounds + 1):
        for side, call in (("own", own), ("ours", ours)):
            start = time.perf_counter()
            call()
            if number:
                seconds[side].append(time.perf_counter() - start)
    rates = {side: round(images / statistics.median(times), 4) for side, times in seconds.items()}
    ratio = statistics.median(own / ours for own, ours in zip(*seconds.values(), strict=True))
    return {**rates, "ratio": round(ratio, 4)}


def _standalone(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The drawer against sampler and VAE, on one session."""
    import torch

    from lora_scripts_ext.adapters.targets import select
    from lora_scripts_ext.config import Config
    from lora_scripts_ext.contract import DrawRequest, WeightedLora
    from lora_scripts_ext.hosts.standalone.drawer import StandaloneDrawer
    from lora_scripts_ext.hosts.standalone.host import StandaloneHost
    from lora_scripts_ext.hosts.standalone.sampler import make_scheduler, sample

    model = options.base_model or ROOT / "pocket" / "model" / "pocket.safetensors"
    side, seeds = options.size, tuple(range(options.seeds))
    with StandaloneHost().open(Config(base_model=str(model))) as session, torch.no_grad():
        lora = _lora(folder / "lora.safetensors", select(session.targets(), "attention", False))
        vae, factor = session.parts()["VAE"], session.model.vae_factor
        shape = (1, 4, side // factor, side // factor)

        def own() -> None:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            noise = torch.cat([torch.randn(shape, generator=one) for one in generators]).to(session.model.device)
            scheduler = make_scheduler("Euler", session._checkpoint.schedule, session.model.prediction_type)
            text = session.encode_text(["", "a chair"])
            latents = sample(session.predict, scheduler, noise, text, options.steps, 7.0, generators)
            for one in latents.split(1):
                vae.decode(one / session._checkpoint.scaling_factor)

        request = DrawRequest(
            "a chair", "", seeds, side, side, options.steps, 7.0, "Euler", loras=(WeightedLora(lora),)
        )
        with StandaloneDrawer(session) as drawer:
            # It leaves the LoRA attached, for the sampler that is called directly, too.
            drawer.draw(request)
            rates = compared(own, lambda: drawer.draw(request), len(seeds), options.rounds)
    return {"host": "standalone", **rates}


def _lora(path: Path, targets: list[Target]) -> Path:
    """A LoRA of rank 8 for all of these layers."""
    import torch
    from safetensors.torch import save_file

    generator, tensors = torch.Generator().manual_seed(0), {}
    for target in targets:
        outputs, inputs = target.module.get_parameter("weight").shape[:2]
        tensors[f"{target.key}.lora_down.weight"] = torch.randn(8, inputs, generator=generator) * 0.02
        tensors[f"{target.key}.lora_up.weight"] = torch.randn(outputs, 8, generator=generator) * 0.02
    save_file(tensors, path)
    return path


def _inside(kind: str, webui: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same in the WebUI's own Python."""
    from tests.webui import checkpoints

    model = options.base_model
    if model is None:
        write = checkpoints.write if kind == "a1111" else checkpoints.write_wide
        model = write(folder / "model", "sd1", **({"deep_vae": True} if kind == "a1111" else {}))
    order = folder / "order.json"
    order.write_text(json.dumps({key: getattr(options, key) for key in ("seeds", "steps", "size", "rounds")}))
    (folder / "webui").mkdir()
    root = Path(webui).resolve()
    python = root / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    inside = Path(__file__).with_name("inside_catalogue.py")
    command = [str(python), str(inside), kind, "measure", str(model), str(folder), str(order)]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return {"host": kind, **json.loads(done.stdout.splitlines()[-1])}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    for kind in KINDS:
        which.add_argument(f"--{kind}", metavar="DIR")
    parser.add_argument("--base-model", type=Path, metavar="FILE")
    for name, default in (("seeds", 4), ("steps", 20), ("size", 64), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
