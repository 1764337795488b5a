"""The model alone, outside any WebUI: diffusers and transformers modules read from a checkpoint or a folder."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ... import finite, memory_limits
from ...base_models.checkpoint import read_checkpoint
from ...base_models.parts import Checkpoint
from ...base_models.tokenizers import tokenizers
from ...config import Config
from ...contract import ModelInfo, PredictionType
from ...errors import UserError
from ...families.registry import by_name
from ...memory_limits import gigabytes
from ...models.low_bits import keep_in_8_bits
from ...models.outline import size
from ...models.prediction import ask_prediction
from ...models.t5 import widen_outputs
from ...models.text import TextEncoders
from ...models.weights import sha256
from .device import pick_device, pick_dtype
from .drawer import StandaloneDrawer
from .session import StandaloneSession

_CPU = torch.device("cpu")


class StandaloneHost:
    """Reads the base model itself. No one lists LoRAs here: a finished one stays in ``output_dir``."""

    def __init__(self) -> None:
        self._output_dir = Path()

    @contextmanager
    def open(self, config: Config) -> Iterator[StandaloneSession]:
        """Load the base model, frozen and in eval mode; free it on every way out.

        While it is open cuDNN chooses its algorithms reproducibly. That setting and torch's random state are as before
        afterwards.

        Raises:
            UserError: the base model, device or tokenizer is missing, damaged or does not fit.
        """
        self._output_dir = Path(config.output_dir)
        with _opened(config) as session:
            yield session

    @contextmanager
    def drawing(self, base_model: str) -> Iterator[StandaloneDrawer]:
        """Load the base model for drawing; otherwise as :meth:`open`."""
        with _opened(Config(base_model=base_model)) as session, StandaloneDrawer(session) as drawer:
            yield drawer

    def lora_dir(self) -> Path:
        """The ``output_dir`` of the config opened last."""
        return self._output_dir

    def publish(self, lora: Path) -> None:
        """Nothing to do: the file is where it belongs, and no one holds a copy."""


@contextmanager
def _opened(config: Config) -> Iterator[StandaloneSession]:
    device = pick_device(config)
    with _globals_restored(device):
        session = _load(config, device)
        try:
            yield session
        finally:
            session.close()
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()


def _load(config: Config, device: torch.device) -> StandaloneSession:
    dtype = pick_dtype(config, device)
    checkpoint = read_checkpoint(config)
    _require_room(checkpoint, dtype)
    # The hash reads the file a second time; beside the loading it costs nothing.
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(sha256, checkpoint.files)
        # The device may be too small for all of it at once: each part goes there when it is needed.
        models = [part.load(_CPU, dtype) for part in checkpoint.texts]
        for model in models:
            widen_outputs(model)
        text = TextEncoders(models, tokenizers(checkpoint, config), checkpoint.family, config.clip_skip)
        # SDXL's VAE overflows in fp16, and latents are encoded once: float32 for all.
        vae = checkpoint.vae.load(_CPU, torch.float32)
        unet = checkpoint.unet.load(_CPU, dtype)
        if config.fp8_base:
            keep_in_8_bits(unet)
        info = _model_info(checkpoint, unet, device, dtype, digest.result())
        session = StandaloneSession(info, checkpoint, unet, vae, text)
    if checkpoint.prediction_type is None:
        session.model = _with_prediction(session, checkpoint)
    return session


def _require_room(checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    """Refuse a model that would not fit into the machine's memory: the kernel would kill the process instead.

    Raises:
        UserError: it would not; with figures.
    """
    frozen = [checkpoint.unet, *checkpoint.texts]
    needed = sum(size(part.skeleton).parameters for part in frozen) * dtype.itemsize
    needed += size(checkpoint.vae.skeleton).parameters * torch.float32.itemsize
    free = memory_limits.available()
    if free is not None and needed > free:
        raise UserError(
            f"{checkpoint.name}: loading this base model needs about {gigabytes(needed)} of memory, there are "
            f"{gigabytes(free)}; close other programs, or choose a smaller model or a machine with more memory."
        )


def _model_info(
    checkpoint: Checkpoint, unet: nn.Module, device: torch.device, dtype: torch.dtype, digest: str
) -> ModelInfo:
    family = by_name(checkpoint.family)
    # Epsilon stands in until a model that does not state its prediction type has been tested.
    prediction: PredictionType = checkpoint.prediction_type or "epsilon"
    return ModelInfo(
        family=checkpoint.family,
        prediction_type=prediction,
        zero_terminal_snr=checkpoint.schedule.zero_terminal_snr and not family.has_flow,
        alphas_cumprod=torch.empty(0) if family.has_flow else checkpoint.schedule.alphas_cumprod(),
        name=checkpoint.name,
        hash=digest,
        vae_factor=checkpoint.vae_factor,
        resolution=checkpoint.resolution(prediction),
        device=device,
        dtype=dtype,
        variant=family.variant(unet),
        warnings=checkpoint.warnings,
    )


def _with_prediction(session: StandaloneSession, checkpoint: Checkpoint) -> ModelInfo:
    """``ModelInfo`` after testing what the model predicts."""
    with torch.no_grad():
        empty = session.encode_text([""])
    channels, last = checkpoint.unet.config["in_channels"], checkpoint.schedule.timesteps - 1
    prediction = ask_prediction(session.predict, empty, channels, last)
    if prediction is None:
        raise UserError(finite.explain(session, "The base model predicts NaN"))
    warning = (
        f"{checkpoint.name} does not say what it predicts; tested, it predicts {prediction}. Set prediction_type if "
        "that is wrong."
    )
    return replace(
        session.model,
        prediction_type=prediction,
        resolution=checkpoint.resolution(prediction),
        warnings=(*session.model.warnings, warning),
    )


@contextmanager
def _globals_restored(device: torch.device) -> Iterator[None]:
    """Reproducible cuDNN and ``device`` as the current one inside; settings and random states as before outside."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device.index] if cuda else []), torch.cuda.device(device) if cuda else nullcontext():
        cudnn.benchmark, cudnn.deterministic = False, True
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.deterministic = before
