"""How gradients become steps: torch's own optimizers and well-kept packages, on the adapter's flat buffer."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..adapters.adapter import Adapter
from ..config import Config
from ..errors import UserError

_PACKAGES = {
    "adamw8bit": ("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
    "schedulefree": ("schedulefree", "AdamWScheduleFree", "schedulefree"),
    "adafactor": ("transformers.optimization", "Adafactor", "transformers"),
}
# Bytes that each keeps for a number that learns: AdamW two moments, Lion one, Prodigy two, the start and a sum;
# Adafactor's rows and columns hardly count.
_STATE_BYTES = {"adamw": 8, "adamw8bit": 2, "lion": 4, "prodigy": 16, "schedulefree": 8, "adafactor": 0}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "adafactor": {"scale_parameter": False, "relative_step": False, "warmup_init": False},
    "prodigy": {"safeguard_warmup": True, "use_bias_correction": True},
}


def build(config: Config, adapter: Adapter) -> torch.optim.Optimizer:
    """The optimizer the config names; each of its groups keeps its base rate under ``initial_lr``.

    Raises:
        UserError: the package is missing, or an argument is unknown to the optimizer.
    """
    rates = {"unet": config.learning_rate, "text": text_rate(config)}
    groups = [{"params": p, "lr": rates[part], "initial_lr": rates[part]} for part, p in _parameters(config, adapter)]
    arguments = {"weight_decay": config.weight_decay, **_DEFAULTS.get(config.optimizer, {}), **_arguments(config)}
    try:
        return _class(config.optimizer)(groups, lr=config.learning_rate, **_fused(config, adapter), **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"optimizer_args: {config.optimizer} does not take {config.optimizer_args} ({error}); correct or remove it."
        ) from error


def state_bytes(name: str) -> int:
    """How many bytes the optimizer of this name keeps for every number that learns."""
    return _STATE_BYTES[name]


def text_rate(config: Config) -> float:
    """Learning rate of the text encoders: a tenth of the UNet's unless the user says otherwise."""
    return config.text_encoder_lr or config.learning_rate / 10


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's base learning rate by ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@contextmanager
def averaged(optimizer: torch.optim.Optimizer, adapter: Adapter) -> Iterator[None]:
    """The weights as they should be used: a schedule-free optimizer trains on others than it delivers.

    The training weights come back from a copy, because switching there and back rounds.
    """
    if not _schedule_free(optimizer):
        yield
        return
    training = adapter.weights.detach().clone()
    optimizer.eval()
    adapter.refresh()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            adapter.weights.copy_(training)
        adapter.refresh()


def start(optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer into training mode, where it has one."""
    if _schedule_free(optimizer):
        optimizer.train()


def _schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    return hasattr(optimizer, "eval") and hasattr(optimizer, "train")


def _parameters(config: Config, adapter: Adapter) -> list[tuple[str, Any]]:
    """Adafactor factors matrices, so it needs each one; the others work element by element on the flat buffer."""
    if config.optimizer == "adafactor":
        return list(adapter.tensors().items())
    return [(part, [flat]) for part, flat in adapter.groups().items()]


def _arguments(config: Config) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in config.optimizer_args.items()}


def _fused(config: Config, adapter: Adapter) -> dict[str, bool]:
    """One pass over the buffer; CPU kernels exist since torch 2.4."""
    if config.optimizer != "adamw":
        return {}
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return {
        "fused": adapter.weights.device.type == "cuda" or (adapter.weights.device.type == "cpu" and release >= (2, 4))
    }


def _class(name: str) -> Any:
    if name == "adamw":
        return torch.optim.AdamW
    module, attribute, package = _PACKAGES[name]
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UserError(
            f"optimizer: {name} needs the package {package}; run `pip install {package}` or set optimizer: adamw."
        ) from error
