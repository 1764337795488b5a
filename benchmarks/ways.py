"""Ways to do a training step on the same weights and data: the floor, ours, and PEFT's."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image

from benchmarks.models import write_checkpoint
from lora_scripts_ext import config as configs
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.config import Config
from lora_scripts_ext.dataset import plan, source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import recompute
from lora_scripts_ext.training.attach import attached
from lora_scripts_ext.training.processes import World
from lora_scripts_ext.training.step import Stepper

FOLDER = Path(tempfile.gettempdir()) / "lora-trainer-benchmark"
NAMES = ("floor", "ours", "peft")
_PEFT_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
# More images than this are the same ones under other names: encoding them all would take hours.
_DIFFERENT = 50


_Any = TypeVar("_Any")


@dataclass(frozen=True)
class Workload:
    """What is measured: a family's model, images of ``size`` pixels, ``batch`` of them a step."""

    family: str = "sd1"
    size: int = 256
    batch: int = 1
    rank: int = 8
    device: str = "auto"
    dtype: str = "auto"
    pictures: int = 0
    recompute: bool = False


@dataclass(frozen=True)
class Way:
    """What is put on the model before a step (not timed) and the step itself, given its number."""

    attached: Callable[[], AbstractContextManager[object]]
    step: Callable[[int], None]


@contextmanager
def opened(workload: Workload) -> Iterator[tuple[StandaloneSession, Store, Config]]:
    """The model, and images cached as a run caches them."""
    with with_config(make_config(workload)) as parts:
        yield parts


@contextmanager
def with_config(config: Config) -> Iterator[tuple[StandaloneSession, Store, Config]]:
    """The same, for ``config``."""
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
        store = Store.build(dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**34)
        session.release_encoders(text=True)
        yield session, store, config


def make_config(workload: Workload) -> Config:
    """A run's config, with its checkpoint and images written."""
    model = write_checkpoint(FOLDER / f"{workload.family}.safetensors", workload.family)
    images = _write_images(workload)
    return configs.from_dict(
        {
            "train_data_dir": str(images),
            "base_model": str(model),
            "output_dir": str(FOLDER / "out"),
            "resolution": workload.size,
            "batch_size": workload.batch,
            "lora_rank": workload.rank,
            "device": workload.device,
            "mixed_precision": workload.dtype,
            "lr_scheduler": "constant",
            "gradient_checkpointing": workload.recompute,
        }
    )


def make(name: str, session: StandaloneSession, store: Store, config: Config) -> Way:
    """The way of this name."""
    return {"floor": _floor, "ours": _ours, "peft": _peft}[name](session, store, config)


def kib_an_image(store: Store) -> float:
    """KiB of memory that the cached dataset takes for each image; a text is held once, whoever shares it."""
    held = [*store._tables.values(), store._texts]
    tensors = [one for table in held for one in vars(table).values() if isinstance(one, torch.Tensor)]
    return round(sum(tensor.nbytes for tensor in tensors) / len(store.examples) / 2**10, 1)


def rotated(by_name: dict[str, _Any], number: int) -> list[tuple[str, _Any]]:
    """The items, each round begun by another: what comes after what must not matter."""
    items = list(by_name.items())
    first = number % len(items)
    return items[first:] + items[:first]


def wait(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _write_images(workload: Workload) -> Path:
    """Images of noise, which compress badly, with a caption each."""
    count = workload.pictures or 4 * workload.batch
    folder = FOLDER / f"images-{workload.size}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index}.png"
        if not path.exists() and index < _DIFFERENT:
            Image.fromarray(rng.integers(0, 256, (workload.size, workload.size, 3), dtype=np.uint8)).save(path)
        elif not path.exists():
            path.hardlink_to(folder / f"{index % _DIFFERENT}.png")
        path.with_suffix(".txt").write_text(f"image {index % _DIFFERENT}")
    return folder


def _floor(session: StandaloneSession, store: Store, config: Config) -> Way:
    """The frozen UNet's forward, and its backward through activations to the input."""
    micros = plan.epoch_steps(store.examples, config, 0, 1)

    def on() -> AbstractContextManager[object]:
        return recompute.checkpointed(session.blocks(), enabled=config.gradient_checkpointing)

    def step(number: int) -> None:
        batch = store.batch(micros[number % len(micros)][0], session.model.device)
        noisy = batch.mean.clone().requires_grad_()
        timesteps = torch.full((len(noisy),), 500, device=noisy.device)
        session.predict(noisy, timesteps, batch.conditioning).square().mean().backward()

    return Way(on, step)


def _ours(session: StandaloneSession, store: Store, config: Config) -> Way:
    """The real loop's step: data, noise, loss, clipping and optimizer included."""
    _, step, on = stepping(session, store, config)
    return Way(on, step)


def stepping(
    session: StandaloneSession, store: Store, config: Config
) -> tuple[Stepper, Callable[[int], None], Callable[[], AbstractContextManager[object]]]:
    """Our stepper, a step of it given its number, and what puts the adapter on the model."""
    targets = select(session.targets(), config.target, config.train_text_encoder)
    adapter = Adapter(targets, config.lora_rank, config.alpha, device=session.model.device, dtype=session.model.dtype)
    stepper = Stepper(config, session, adapter, store, World(0, 1), 1000)
    micros = plan.epoch_steps(store.examples, config, 0, 1)

    def step(number: int) -> None:
        stepper.step(number, micros[number % len(micros)])

    def on() -> AbstractContextManager[object]:
        recomputed = config.gradient_checkpointing
        return attached(adapter, session.targets(), session.blocks(), gradient_checkpointing=recomputed)

    return stepper, step, on


def _peft(session: StandaloneSession, store: Store, config: Config) -> Way:
    """The usual recipe: inject, mean squared error, clip, AdamW."""
    other = twin(session)
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.alpha, target_modules=_PEFT_TARGETS)
    inject_adapter_in_model(lora, other._unet)
    parameters = [parameter for name, parameter in other._unet.named_parameters() if "lora_" in name]
    assert len(parameters) == 2 * len(select(session.targets(), config.target, config.train_text_encoder))
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
    micros = plan.epoch_steps(store.examples, config, 0, 1)
    signal = session.model.alphas_cumprod.to(session.model.device)
    if config.gradient_checkpointing:
        other._unet.enable_gradient_checkpointing()
        other._unet.train()

    def step(number: int) -> None:
        batch = store.batch(micros[number % len(micros)][0], session.model.device)
        noise = torch.randn_like(batch.mean)
        timesteps = torch.randint(1000, (len(noise),), device=noise.device)
        a = signal[timesteps].view(-1, 1, 1, 1)
        latents = batch.mean + batch.std * torch.randn_like(batch.mean)
        prediction = other.predict(a.sqrt() * latents + (1 - a).sqrt() * noise, timesteps, batch.conditioning)
        torch.nn.functional.mse_loss(prediction, noise).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return Way(nullcontext, step)


def twin(session: StandaloneSession) -> StandaloneSession:
    """A second UNet over the same weight tensors, so that an adapter put into it leaves the first unchanged."""
    other = copy.copy(session)
    other._unet = copy.deepcopy(session._unet, {id(tensor): tensor for tensor in session._unet.parameters()})
    return other
