"""Whether a run fits into the memory that is free, and how many images it computes at once so that it does.

On a CPU no error comes when memory runs out: the kernel kills the process. So it is estimated before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .. import memory, memory_limits
from ..adapters.adapter import Adapter
from ..adapters.targets import select
from ..config import Config
from ..contract import Inspection, Session
from ..dataset import texts
from ..dataset.source import Dataset
from ..errors import UserError
from ..memory_limits import gigabytes
from . import optimizer
from .footprint import Footprint, measure

# A weight and its gradient, float32 each.
_BYTES_PER_PARAMETER = 8
# Measured: the C library holds on to a fifth more than what is in use, and oneDNN lays out weights in other orders.
_ALLOCATOR_OVERHEAD = 1.2
_LIBRARIES = 64 << 20
# Of the memory that is free, text embeddings take no more; the rest is read from the cache.
_TEXT_SHARE = 0.1
# Bytes for each pixel of one image, measured with Stable Diffusion's VAE in float32.
_ENCODING, _DECODING = 2_600, 3_900


@dataclass(frozen=True)
class Fit:
    """How a run fits into the memory of its device, in bytes.

    Attributes:
        needed: for a step with all the images of a batch at once, or with one where not even that fits.
        free: what there is, on a graphics card in all; None where it is unknown.
        at_once: images that are computed together; 0 where not even one fits.
        largest: images of a batch.
    """

    needed: int
    free: int | None
    at_once: int
    largest: int

    @property
    def fits(self) -> bool:
        """Whether the run can be done at all."""
        return self.at_once > 0

    def sentence(self, config: Config) -> str | None:
        """The sentence for the user; None where the whole batch fits."""
        if self.free is None or self.at_once == self.largest:
            return None
        if not self.fits:
            return _too_small(self.needed, self.free, remedies(config))
        return (
            f"A step of {self.largest} images needs about {gigabytes(self.needed)} of memory, but only "
            f"{gigabytes(self.free)} is available: computing in groups of {self.at_once}. The effective batch size is "
            "unchanged; steps take longer."
        )


def images_at_once(needs: Callable[[int], int], free: int, largest: int, remedy: str = "lower resolution") -> int:
    """As many images, ``largest`` at most, as a step computes together within ``free`` bytes, in parts of like size.

    ``needs`` gives the bytes of a step with so many images, which grow with their number.

    Raises:
        UserError: a single image needs more; ``remedy`` says what to do.
    """
    if needs(largest) <= free:
        return largest
    least = needs(1)
    if least > free:
        raise UserError(_too_small(least, free, remedy))
    fitting, too_many = 1, largest
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if needs(middle) <= free else (fitting, middle)
    return math.ceil(largest / math.ceil(largest / fitting))


def fit(needs: Callable[[int], int], free: int | None, largest: int) -> Fit:
    """As :func:`images_at_once`, as a result instead of an error."""
    try:
        at_once = largest if free is None else images_at_once(needs, free, largest)
    except UserError:
        at_once = 0
    return Fit(needs(largest if at_once else 1), free, at_once, largest)


def _too_small(needed: int, free: int, remedy: str) -> str:
    return (
        f"Not enough memory for this run: it needs about {gigabytes(needed)} with one image at a time, but only "
        f"{gigabytes(free)} is available; {remedy}."
    )


def remedies(config: Config) -> str:
    """What makes a run of ``config`` smaller, as a sentence's end."""
    options = ["set a smaller resolution"]
    if not config.gradient_checkpointing:
        options.append("set gradient_checkpointing: true")
    if not config.fp8_base:
        options.append("set fp8_base: true")
    if config.train_text_encoder:
        options.append("set train_text_encoder: false")
    return ", ".join(options[:-1]) + f" or {options[-1]}" if len(options) > 1 else options[0]


class StepMemory:
    """What a step of a run takes beside the frozen weights, in bytes.

    Attributes:
        largest: images that this process computes of a batch.
        layers: of the adapter; so are ``parameters``.
        adapter_bytes: the adapter with its gradient and the optimizer's state.
        text_bytes: of the captions' embeddings that are held in memory.
        vae_bytes: encoding an image or drawing a preview, before or between the steps; 0 on an accelerator, where the
            VAE's share is much smaller and running out is an error that is handled.
    """

    def __init__(self, model: Inspection, config: Config, dataset: Dataset) -> None:
        self.largest = config.batch_size
        self._model = model
        self._config = config
        self._size = max(dataset.buckets(), key=lambda size: size[0] * size[1])
        self._adapter = Adapter(
            select(model.targets, config.target, config.train_text_encoder),
            config.lora_rank,
            config.alpha,
            dropout=config.lora_dropout,
            device="meta",
            dtype=model.dtype,
        )
        self.layers = len(self._adapter.keys())
        self.parameters = self._adapter.weights.numel()
        self.adapter_bytes = self.parameters * (_BYTES_PER_PARAMETER + optimizer.state_bytes(config.optimizer))
        self.vae_bytes = _vae_bytes(self._size, config) if model.device.type == "cpu" else 0
        self.text_bytes = 0 if config.train_text_encoder else _text_bytes(model, config, dataset)
        self._footprints: dict[int, Footprint] = {}

    def needs(self, images: int) -> int:
        """With so many images at once, what the libraries take for themselves included."""
        passes = int(self.footprint(images).peak_bytes * _ALLOCATOR_OVERHEAD)
        held = self.text_bytes if self._model.device.type == "cpu" else 0
        return self.adapter_bytes + held + max(passes, self.vae_bytes) + _LIBRARIES

    def footprint(self, images: int) -> Footprint:
        """What the passes with so many images of the largest bucket take."""
        if images not in self._footprints:
            self._footprints[images] = measure(self._model, self._adapter, self._config, images, self._size)
        return self._footprints[images]


def _vae_bytes(size: tuple[int, int], config: Config) -> int:
    """What the VAE takes for one image of ``size`` (width, height in pixels)."""
    return size[0] * size[1] * (_DECODING if config.preview_epochs else _ENCODING)


def _text_bytes(model: Inspection, config: Config, dataset: Dataset) -> int:
    total = texts.bytes_of(texts.captions(dataset.examples, config), model.conditioning(1))
    return min(total, text_budget())


def text_budget() -> int:
    """Bytes that text embeddings may take of the machine's memory."""
    return memory.free(torch.device("cpu"), _TEXT_SHARE)


def free_for(device: torch.device) -> int | None:
    """Bytes that a process may take on a CPU, or that a graphics card has in all; None where it is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if device.type != "cpu":
        return None
    free = memory_limits.available()
    return None if free is None else free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def check(session: Session, config: Config, dataset: Dataset) -> Fit | None:
    """How the steps of a run fit beside the model that is loaded; None on an accelerator, where running out of memory
    is an error that is handled.

    Raises:
        UserError: not even one image fits.
    """
    free = free_for(session.model.device) if session.model.device.type == "cpu" else None
    if free is None:
        return None
    step = StepMemory(session.outline(), config, dataset)
    at_once = images_at_once(step.needs, free, step.largest, remedies(config))
    return Fit(step.needs(step.largest), free, at_once, step.largest)
