"""Trainings that are measured on the way: ours and the reference, timed without the measuring."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.diffusers_recipe import Recipe, Reference
from benchmarks.quality import BRANDS, POCKET, Measures
from lora_scripts_ext import config as configs
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.config import Config
from lora_scripts_ext.dataset import plan, source
from lora_scripts_ext.dataset.plan import Step
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import optimizer
from lora_scripts_ext.training.attach import attached
from lora_scripts_ext.training.processes import World
from lora_scripts_ext.training.step import Stepper

PRESET = Path(__file__).resolve().parent.parent / "configs" / "demo.yaml"
Change = Callable[[Stepper], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Point:
    """Where a training stood after ``steps`` and ``seconds`` of training; ``distance`` only at the end."""

    steps: int
    seconds: float
    loss: float
    distance: float | None


class Training(Protocol):
    """A training in progress; ``session`` is the model with the adapter on."""

    session: StandaloneSession

    def step(self, number: int) -> None:
        """One step of the optimizer."""

    def delivered(self) -> AbstractContextManager[None]:
        """Within this context the adapter is as its file would be."""


class Ours:
    """The engine's own loop on a preset, latents and texts encoded once before it."""

    def __init__(
        self,
        session: StandaloneSession,
        config: Config,
        change: Change | None,
        stack: ExitStack,
        names: Collection[str] | None = None,
    ) -> None:
        """``names``: the images to train on of those in ``train_data_dir``; None uses all."""
        self.session = session
        self.config = config
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
        if names is not None:
            dataset = dataset.only(names)
        self.store = Store.build(
            dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**32
        )
        targets = select(list(session.targets()), config.target, config.train_text_encoder)
        self.adapter = Adapter(targets, config.lora_rank, config.alpha, dropout=config.lora_dropout, seed=config.seed)
        self.stepper = Stepper(config, session, self.adapter, self.store, World(0, 1), config.max_steps)
        recomputed = config.gradient_checkpointing
        stack.enter_context(
            attached(self.adapter, session.targets(), session.blocks(), gradient_checkpointing=recomputed)
        )
        if change is not None:
            stack.enter_context(change(self.stepper))
        self._steps = self._ahead()

    def step(self, number: int) -> None:
        """One step of the optimizer."""
        self.stepper.step(number, next(self._steps))

    def delivered(self) -> AbstractContextManager[None]:
        """Within this context the adapter is as its file would be."""
        return optimizer.averaged(self.stepper.optimizer, self.adapter)

    def _ahead(self) -> Iterator[Step]:
        epoch = 0
        while True:
            yield from plan.epoch_steps(self.store.examples, self.config, epoch, 1)
            epoch += 1


def preset(brand: str, seed: int, steps: int, **settings: Any) -> Config:
    """The demo's settings for a brand, its cosine ending after ``steps``."""
    values = {"train_data_dir": BRANDS[brand] / "brand", "base_model": POCKET / "model" / "pocket.safetensors"}
    overrides = [f"{key}={value}" for key, value in {**values, "output_dir": "out", "seed": seed, **settings}.items()]
    return configs.load(PRESET, [*overrides, "epochs=100000", f"max_steps={steps}"])


def ours(
    session: StandaloneSession,
    config: Config,
    measures: Measures,
    measured_steps: Iterable[int],
    change: Change | None = None,
) -> list[Point]:
    """Train by the engine; what it caches counts as training."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = configs.from_dict({**config.to_dict(), "output_dir": folder})
        start = time.perf_counter()
        training = Ours(session, settings, change, stack)
        return _train(training, config.max_steps, measures, set(measured_steps), time.perf_counter() - start)


def reference(
    session: StandaloneSession, brand: str, seed: int, recipe: Recipe, measures: Measures, measured_steps: Iterable[int]
) -> list[Point]:
    """Train by diffusers' recipe."""
    sides = measures.config.sides(session.model.resolution)
    start = time.perf_counter()
    training = Reference(session, BRANDS[brand] / "brand", sides, recipe, seed)
    return _train(training, recipe.steps, measures, set(measured_steps), time.perf_counter() - start)


def _train(training: Training, steps: int, measures: Measures, measured_steps: set[int], seconds: float) -> list[Point]:
    """Take the steps; measure the loss after those in ``measured_steps``, and at the end the distance, too."""
    points = []
    for number in range(steps):
        start = time.perf_counter()
        training.step(number)
        seconds += time.perf_counter() - start
        done, last = number + 1, number + 1 == steps
        if done in measured_steps or last:
            with training.delivered():
                distance = measures.distance(training.session) if last else None
                points.append(Point(done, seconds, measures.loss(training.session), distance))
    return points
