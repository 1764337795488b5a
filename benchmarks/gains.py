"""What each optimisation of our step gains: the step as it is, and without one of them, in turns in one process.

``python benchmarks/gains.py [--family sd1|sdxl] [--size N] [--batch N] [--rank N] [--rounds N] [--only WORD ...]
[--json]``, on a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import ways
from benchmarks.ways import Workload
from lora_scripts_ext.adapters import frozen, products
from lora_scripts_ext.dataset.plan import Visit
from lora_scripts_ext.dataset.store import Batch
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import optimizer
from lora_scripts_ext.training.step import Stepper

WARM_UP = 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    for name, value in (("size", 256), ("batch", 1), ("rank", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="rows that hold one of these words")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    workload = Workload(
        device="cpu", **{f.name: getattr(options, f.name) for f in fields(Workload) if f.name in options}
    )
    with ways.opened(workload) as (session, store, config):
        stepper, step, attached = ways.stepping(session, store, config)
        rows = {**_without(stepper), **_encoding(stepper, workload)}
        chosen = {name: on for name, on in rows.items() if any(word in name for word in options.only)}
        without = {"as it is": nullcontext, **chosen}
        seconds: dict[str, list[float]] = {name: [] for name in without}
        for number in range(WARM_UP + options.rounds):
            for name, change in ways.rotated(without, number):
                with change(), attached():
                    start = time.perf_counter()
                    step(number)
                    if number >= WARM_UP:
                        seconds[name].append(time.perf_counter() - start)
    report = {name: _row(times, seconds["as it is"]) for name, times in seconds.items()}
    if options.json:
        print(json.dumps(report))
        return
    for name, row in report.items():
        print(f"{name:42} {row['seconds']:8.3f} s {row['share']:7.3f}")


def _row(times: list[float], plain: list[float]) -> dict[str, float]:
    """The median, and that of the ratios pair by pair."""
    share = statistics.median(one / other for one, other in zip(times, plain, strict=True))
    return {"seconds": round(statistics.median(times), 4), "share": round(share, 3)}


def _without(stepper: Stepper) -> dict[str, Callable[[], AbstractContextManager[object]]]:
    return {
        "without oneDNN's products": lambda: mock.patch.object(products, "uses_onednn", lambda x: False),
        "without convolutions as products": lambda: mock.patch.object(products, "_as_product", lambda *_: False),
        "without frozen layers computed our way": _no_frozen_layers,
        "without products added where they belong": _apart,
        "with a backward below the first adapter": _gradient_to_the_input,
        "with an optimizer over every matrix": lambda: _matrix_by_matrix(stepper),
    }


@contextmanager
def _apart() -> Iterator[None]:
    """The adapter's output and gradient as tensors of their own, added afterwards."""

    def addmm(to: torch.Tensor, one: torch.Tensor, other: torch.Tensor, *, alpha: float = 1) -> torch.Tensor:
        return to.add_(torch.mm(one, other), alpha=alpha)

    def baddbmm(to: torch.Tensor, one: torch.Tensor, other: torch.Tensor, *, alpha: float = 1) -> torch.Tensor:
        return to.add_(torch.bmm(one, other), alpha=alpha)

    with mock.patch.object(torch.Tensor, "addmm_", addmm), mock.patch.object(torch.Tensor, "baddbmm_", baddbmm):
        yield


def _encoding(stepper: Stepper, workload: Workload) -> dict[str, Callable[[], AbstractContextManager[object]]]:
    """What every step encodes again, before its batch is loaded."""
    session, load_batch = stepper.session, stepper.store.batch
    pixels = torch.zeros(workload.batch, 3, workload.size, workload.size)

    @torch.no_grad()
    def with_text(visits: Sequence[Visit], device: torch.device) -> Batch:
        batch = load_batch(visits, device)
        session.encode_text(batch.captions)
        return batch

    @torch.no_grad()
    def with_images(visits: Sequence[Visit], device: torch.device) -> Batch:
        session.encode_images(pixels)
        return load_batch(visits, device)

    return {
        "with the text encoder in every step": lambda: mock.patch.object(stepper.store, "batch", with_text),
        "with the VAE in every step": lambda: mock.patch.object(stepper.store, "batch", with_images),
    }


def _no_frozen_layers() -> AbstractContextManager[object]:
    return mock.patch.object(frozen, "efficient_frozen_layers", lambda targets: nullcontext())


def _gradient_to_the_input() -> AbstractContextManager[object]:
    predict = StandaloneSession.predict

    def with_gradient(self: StandaloneSession, noisy: torch.Tensor, *rest: object) -> torch.Tensor:
        return predict(self, noisy.clone().requires_grad_(), *rest)

    return mock.patch.object(StandaloneSession, "predict", with_gradient)


@contextmanager
def _matrix_by_matrix(stepper: Stepper) -> Iterator[None]:
    """AdamW as it is used everywhere: a list of tensors, stepped in groups."""
    matrices = stepper.adapter.tensors()
    groups = [{"params": group, "initial_lr": stepper.config.learning_rate} for group in matrices.values()]
    ordinary = torch.optim.AdamW(groups, lr=stepper.config.learning_rate)
    with mock.patch.object(stepper, "optimizer", ordinary):
        optimizer.set_rates(ordinary, 1.0)
        yield


if __name__ == "__main__":
    main()
