"""Which checkpoint, at which strength: what is suggested, against the best and the last, on brands nobody tuned to.

``python benchmarks/choosing.py brands --packs node_modules``, ``… train``, ``… measure``, ``… table``; each keeps what
it has done in ``--work`` and goes on from there. Trained is the pocket model with the demo's settings, the epochs
scaled with the number of images as the presets' are (``presets.py``). A tenth of the images is held out, as a run
would; the distance to the brand is measured on objects that are neither trained on nor held out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import choosing_table, quality, training
from lora_scripts_ext import config as configs
from lora_scripts_ext import files
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.dataset import plan, source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.sampler import make_scheduler, sample
from lora_scripts_ext.hosts.standalone.session import StandaloneSession, _to_image
from lora_scripts_ext.training import held_out
from lora_scripts_ext.training.held_out import HeldOutLoss
from pocket import demo

#: brand -> how many images it has
BRANDS = {"selva": 48, "nocturne": 20, "fondant": 100}
#: how many images the demo's epochs were chosen for
DEMO_IMAGES = 42
CHECKPOINTS = 6
#: what a step leaves of the exponential moving average
DECAY = 0.98
#: how many of the last checkpoints are averaged
AVERAGED = (3,)
#: pairs of noise and timestep of a held-out loss -> how many independent choices of them
CHOICES = {8: 4, 16: 4, 32: 2, 64: 1}
#: pairs of noise and timestep of a held-out loss
DRAWS = 32
#: of those not trained on, which are drawn to measure the distance
OBJECTS = 8
SAMPLING_STEPS = 8


def main() -> None:
    """Do one stage."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    STAGES[options.stage](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, default=Path("choosing_work"), help="folder of all that is made")
    parser.add_argument("--packs", type=Path, help="for brands: the node_modules with the icon packs")
    parser.add_argument("--brands", nargs="+", choices=BRANDS, default=list(BRANDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--epochs", type=int, default=15, help="for 42 images; the demo's settings say 30")
    parser.add_argument("--strengths", nargs="*", type=float, default=[0.6, 0.8], help="besides 1, of one checkpoint")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other settings than the demo's")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves it to torch")
    return parser.parse_args()


def make_brands(options: argparse.Namespace) -> None:
    """Compose the images of all three; print how far an image without an object is from those not trained on."""
    from benchmarks import brands  # it needs resvg-py, the rest does not

    for name in BRANDS:
        brands.write(name, options.packs, options.work / name)
        objects = demo.read_objects(options.work / name / "unseen")[:OBJECTS]
        distance = demo.mean_distances(objects, [[brands.empty(name)]] * len(objects)).mean()
        print(f"{name}: an image without an object has distance {distance:.3f}")


@dataclass(frozen=True)
class Task:
    """One training: a brand and a seed."""

    work: Path
    brand: str
    seed: int
    demo_epochs: int
    settings: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Where its checkpoints are kept."""
        return self.work / "runs" / f"{self.brand}-{self.seed}.pt"

    def config(self) -> Config:
        """The demo's, the epochs scaled by the square root of the number of images."""
        epochs = round(self.demo_epochs * math.sqrt(DEMO_IMAGES / BRANDS[self.brand]))
        values = {
            "train_data_dir": self.work / self.brand / "brand",
            "base_model": demo.HERE / "model" / "pocket.safetensors",
            "output_dir": self.work / "output",
            "seed": self.seed,
            "epochs": epochs,
        }
        return configs.load(training.PRESET, [*(f"{key}={value}" for key, value in values.items()), *self.settings])

    def held_out(self) -> tuple[list[str], list[str]]:
        """The names of the images that are held out, and of those that are trained on."""
        images = sorted((self.work / self.brand / "brand").glob("*.png"))
        contents = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in images}
        outside = held_out.choose(contents, self.seed)
        return outside, [name for name in contents if name not in outside]


def tasks(options: argparse.Namespace) -> list[Task]:
    """Every brand with every seed, the brands in turn."""
    return [
        Task(options.work, brand, seed, options.epochs, tuple(options.set))
        for seed in options.seeds
        for brand in options.brands
    ]


def train(options: argparse.Namespace) -> None:
    """Train what is not trained yet; keep the weights after every epoch, and their moving averages."""
    for task in tasks(options):
        if task.file.exists():
            continue
        config = task.config()
        with StandaloneHost().open(config) as session:
            result = _trained(session, config, task)
        task.file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(result, task.file)
        print(task.brand, task.seed, result["steps"], "steps", round(result["seconds"]), "s", file=sys.stderr)


def _trained(session: StandaloneSession, config: Config, task: Task) -> dict[str, Any]:
    outside, names = task.held_out()
    with ExitStack() as stack:
        run = training.Ours(session, config, None, stack, names)
        epochs = [plan.epoch_steps(run.store.examples, config, epoch, 1) for epoch in range(config.epochs)]
        run.stepper.total_steps = sum(map(len, epochs))
        average = run.adapter.weights.detach().clone()
        result: dict[str, Any] = {"held_out": outside, "weights": {}, "averages": {}}
        started, steps = time.perf_counter(), 0
        losses: list[float] = []
        for epoch, ahead in enumerate(epochs, 1):
            total = 0.0
            for step in ahead:
                total += float(run.stepper.step(steps, step)[0])
                steps += 1
                # A young average forgets its start faster.
                average.lerp_(run.adapter.weights.detach(), 1 - min(DECAY, (1 + steps) / (10 + steps)))
            losses.append(total / len(ahead))
            result["weights"][epoch] = run.adapter.weights.detach().half()
            if epoch in checkpoints(config.epochs):
                result["averages"][epoch] = average.half()
        seconds = time.perf_counter() - started
    return {**result, "steps": steps, "seconds": seconds, "losses": losses}


def measure(options: argparse.Namespace) -> None:
    """Measure what is not measured yet: the held-out loss and the distance of each checkpoint and each average."""
    kept = Kept(options.work / "results.json")
    for task in tasks(options):
        if task.file.exists():
            with StandaloneHost().open(task.config()) as session:
                Bench(session, task, kept, options.strengths).measure()


class Kept:
    """All figures in one JSON file: task -> name of a point -> figures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def once(self, task: Task, name: str, compute: Callable[[], Any]) -> Any:
        """The figure of that name, computed if it is not there yet."""
        own = self.values.setdefault(f"{task.brand}-{task.seed}", {})
        if name not in own:
            own[name] = compute()
            files.write_text(self.path, json.dumps(self.values))
        return own[name]


class Bench:
    """One training's weights on the model, which they are merged into: that takes half the time of an adapter."""

    def __init__(self, session: StandaloneSession, task: Task, kept: Kept, strengths: Sequence[float] = ()) -> None:
        self.session, self.task, self.kept, self.strengths = session, task, kept, strengths
        self.config = task.config()
        self.run = torch.load(task.file, weights_only=True)
        targets = select(list(session.targets()), self.config.target, self.config.train_text_encoder)
        self.adapter = Adapter(targets, self.config.lora_rank, self.config.alpha)
        self.objects = demo.read_objects(task.work / task.brand / "unseen")[:OBJECTS]
        wide = replace(self.config, batch_size=16)
        dataset = source.read(wide, wide.sides(session.model.resolution), session.model.vae_factor)
        outside = dataset.only(self.run["held_out"])
        self.store = Store.build(
            outside, session, wide, progress=lambda *_: None, check=lambda: None, budget_bytes=2**30
        )

    def measure(self) -> None:
        """Every point in turn."""
        run, epochs = self.run, checkpoints(self.config.epochs)
        facts = {key: run[key] for key in ("steps", "seconds", "losses", "held_out")}
        self._once("run", lambda: {**facts, "epochs": self.config.epochs, "checkpoints": epochs})
        self._point("base", None)
        for epoch in epochs:
            self._point(f"checkpoint {epoch}", run["weights"][epoch])
        for count in AVERAGED:
            last = torch.stack([run["weights"][epoch].float() for epoch in epochs[-count:]]).mean(0)
            self._point(f"average {count}", last)
        self._point(f"ema {DECAY}", run["averages"][epochs[-1]])
        best = min(epochs, key=lambda epoch: mean(self._losses(f"checkpoint {epoch}")))
        for strength in self.strengths:
            self._point(f"checkpoint {best} at {strength}", run["weights"][best], strength)

    def measure_draws(self) -> None:
        """As in ``measure``, without distances: losses by image, [choice of draws][image], for each number of draws."""
        for epoch in (None, *checkpoints(self.config.epochs)[1::2]):
            with self._merged(None if epoch is None else self.run["weights"][epoch], 1.0):
                self._once(f"checkpoint {epoch}", lambda: {draws: self._choices(draws) for draws in CHOICES})

    def _choices(self, draws: int) -> list[tuple[float, ...]]:
        configs_ = [replace(self.config, seed=1000 + number) for number in range(CHOICES[draws])]
        return [HeldOutLoss(one, self.session, self.store, draws=draws)().by_image for one in configs_]

    def _point(self, name: str, weights: Tensor | None, strength: float = 1.0) -> None:
        def compute() -> dict[str, Any]:
            with self._merged(weights, strength):
                losses = HeldOutLoss(self.config, self.session, self.store, draws=DRAWS)().by_image
                return {"losses": losses, "distance": self._base_distance() if weights is None else self._distance()}

        self._once(name, compute)

    def _losses(self, name: str) -> list[float]:
        return self.kept.values[f"{self.task.brand}-{self.task.seed}"][name]["losses"]

    def _once(self, name: str, compute: Callable[[], Any]) -> Any:
        return self.kept.once(self.task, name, compute)

    @contextmanager
    def _merged(self, weights: Tensor | None, strength: float) -> Iterator[None]:
        """The model with the adapter's flat weights merged into its own."""
        if weights is None:
            yield
            return
        with torch.no_grad():
            self.adapter.weights.copy_(weights)
            before = []
            for layer in self.adapter._layers:
                down, up = layer.master.weights
                weight = layer.target.module.weight
                before.append((weight, weight.clone()))
                weight += (up @ down.flatten(1)).reshape(weight.shape) * (strength * self.config.alpha / down.shape[0])
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, frozen in before:
                    weight.copy_(frozen)

    def _base_distance(self) -> list[list[float]]:
        """The same for every seed."""
        bases = [f["base"] for name, f in self.kept.values.items() if name.startswith(self.task.brand) and "base" in f]
        return bases[0]["distance"] if bases else self._distance()

    def _distance(self) -> list[list[float]]:
        """The demo's distance to the brand's own image of every object: on it, and around it."""
        pairs = zip(self.objects, self.drawn(), strict=True)
        return [demo.mean_distances([one], [[image]]).tolist() for one, image in pairs]

    @torch.no_grad()
    def drawn(self) -> list[Image.Image]:
        """Every object by the model as it is, all drawn at once from one noise."""
        session, config = self.session, self.config
        prompts = [one.prompt for one in self.objects]
        context = session.encode_text([*([config.preview_negative] * len(prompts)), *prompts]).context
        scheduler = make_scheduler(config.preview_sampler, session._checkpoint.schedule, session.model.prediction_type)
        generator = torch.Generator().manual_seed(quality.DRAWING_SEED)
        side = config.resolution[0] // session.model.vae_factor
        noise = torch.randn(1, 4, side, side, generator=generator).expand(len(prompts), -1, -1, -1)

        def predict(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
            return session.predict(latents, timesteps[:1].expand(len(latents)), conditioning)

        scale = config.preview_cfg_scale
        latents = sample(predict, scheduler, noise, Conditioning(context), SAMPLING_STEPS, scale, generator)
        pixels = session._vae.decode(latents / session._checkpoint.scaling_factor, return_dict=False)[0]
        return [_to_image(one) for one in pixels]


def checkpoints(epochs: int) -> list[int]:
    """The epochs after which a checkpoint is kept."""
    return sorted({round(epochs * number / CHECKPOINTS) for number in range(1, CHECKPOINTS + 1)})


def measure_draws(options: argparse.Namespace) -> None:
    """The held-out loss of every other checkpoint, with fewer and more draws, and other draws as many."""
    kept = Kept(options.work / "draws.json")
    for task in tasks(options):
        if task.file.exists():
            with StandaloneHost().open(task.config()) as session:
                Bench(session, task, kept).measure_draws()


def show(options: argparse.Namespace) -> None:
    """Print what has been measured so far."""
    for line in choosing_table.distances(Kept(options.work / "results.json").values):
        print(line)
    for line in choosing_table.draws(Kept(options.work / "draws.json").values):
        print(line)


STAGES = {"brands": make_brands, "train": train, "measure": measure, "draws": measure_draws, "table": show}

if __name__ == "__main__":
    main()
