"""Time of a training step: the floor, ours, and PEFT's, interleaved in one process on the same weights.

The floor is what no LoRA can avoid: the frozen UNet's forward and its backward through activations. Ours is the real
loop's step, data, noise, clipping and optimizer included. PEFT's is the usual recipe: inject, mean squared error,
clip, AdamW.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.models import write_checkpoint
from lora_scripts_ext import config as configs
from lora_scripts_ext.adapters import frozen
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.dataset import plan, source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone import StandaloneHost
from lora_scripts_ext.hosts.standalone_session import StandaloneSession
from lora_scripts_ext.training.processes import World
from lora_scripts_ext.training.step import Stepper

PEFT_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
ROUNDS = 9
WARM_UP = 2


def main() -> None:
    options = _options()
    folder = Path(tempfile.gettempdir()) / "lora-trainer-benchmark"
    model = write_checkpoint(folder / f"{options.family}.safetensors", options.family)
    config = _config(options, model, folder)
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
        store = Store.build(dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**32)
        session.release_encoders(text=True)
        runs = {
            "floor": _floor(session, store, config),
            "ours": _ours(session, store, config),
            "peft": _peft(session, store, config),
        }
        seconds = _measure(runs, session.model.device)
    report = _report(options, seconds)
    print(json.dumps(report) if options.json else "\n".join(f"{key}: {value}" for key, value in report.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("auto", "fp32", "fp16", "bf16"), default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser.parse_args()


def _config(options: argparse.Namespace, model: Path, folder: Path) -> configs.Config:
    pictures = folder / f"pictures-{options.size}"
    pictures.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(4 * options.batch):
        pixels = generator.integers(0, 256, (options.size, options.size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{index}.png")
    return configs.from_dict(
        {
            "train_data_dir": str(pictures),
            "base_model": str(model),
            "output_dir": str(folder / "out"),
            "resolution": options.size,
            "batch_size": options.batch,
            "lora_rank": options.rank,
            "device": options.device,
            "mixed_precision": options.dtype,
            "lr_scheduler": "constant",
        }
    )


def _floor(session, store, config) -> Callable[[int], None]:
    micros = plan.epoch_steps(store.examples, config, 0, 1)

    def step(number: int) -> None:
        batch = store.batch(micros[number % len(micros)][0], session.model.device)
        noisy = batch.mean.clone().requires_grad_()
        timesteps = torch.full((len(noisy),), 500, device=noisy.device)
        session.predict(noisy, timesteps, batch.conditioning).square().mean().backward()

    return step


def _ours(session, store, config) -> Callable[[int], None]:
    targets = select(session.targets(), config.target, config.train_text_encoder)
    adapter = Adapter(targets, config.lora_rank, config.alpha, device=session.model.device, dtype=session.model.dtype)
    stepper = Stepper(config, session, adapter, store, World(0, 1), 1000)
    micros = plan.epoch_steps(store.examples, config, 0, 1)

    def step(number: int) -> None:
        with adapter.attached(), frozen.quickened(adapter.others(session.targets())):
            stepper.step(number, micros[number % len(micros)])

    return step


def _peft(session, store, config) -> Callable[[int], None]:
    twin = _twin(session)
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.alpha, target_modules=PEFT_TARGETS)
    inject_adapter_in_model(lora, twin._unet)
    parameters = [parameter for name, parameter in twin._unet.named_parameters() if "lora_" in name]
    assert len(parameters) == 2 * len(select(session.targets(), config.target, config.train_text_encoder))
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
    micros = plan.epoch_steps(store.examples, config, 0, 1)
    signal = session.model.alphas_cumprod.to(session.model.device)

    def step(number: int) -> None:
        batch = store.batch(micros[number % len(micros)][0], session.model.device)
        noise = torch.randn_like(batch.mean)
        timesteps = torch.randint(1000, (len(noise),), device=noise.device)
        a = signal[timesteps].view(-1, 1, 1, 1)
        latents = batch.mean + batch.std * torch.randn_like(batch.mean)
        prediction = twin.predict(a.sqrt() * latents + (1 - a).sqrt() * noise, timesteps, batch.conditioning)
        torch.nn.functional.mse_loss(prediction, noise).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _twin(session: StandaloneSession) -> StandaloneSession:
    """A second module tree over the same weight tensors, so that the two ways do not see each other."""
    twin = copy.copy(session)
    twin._unet = copy.deepcopy(session._unet, {id(tensor): tensor for tensor in session._unet.parameters()})
    return twin


def _measure(runs: dict[str, Callable[[int], None]], device: torch.device) -> dict[str, list[float]]:
    """Seconds of every measured step; the ways take turns, so that what else the machine does hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(WARM_UP + ROUNDS):
        for name, step in runs.items():
            _wait(device)
            start = time.perf_counter()
            step(number)
            _wait(device)
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _report(options: argparse.Namespace, seconds: dict[str, list[float]]) -> dict[str, object]:
    def ratio(one: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)), 3)

    return {
        **{key: value for key, value in vars(options).items() if key != "json"},
        **{f"{name}_s": round(statistics.median(times), 4) for name, times in seconds.items()},
        "ours_to_floor": ratio("ours", "floor"),
        "peft_to_floor": ratio("peft", "floor"),
        "ours_to_peft": ratio("ours", "peft"),
        "rounds": ROUNDS,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
