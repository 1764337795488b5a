"""The optimizers: torch's own and those of well-maintained packages, on the adapter's flat buffer."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Protocol, runtime_checkable

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
# Bytes of state per trainable parameter: AdamW two moments, Lion one, Prodigy two, the start and a sum;
# Adafactor's rows and columns hardly count.
_STATE_BYTES = {"adamw": 8, "adamw8bit": 2, "lion": 4, "prodigy": 16, "schedulefree": 8, "adafactor": 0}


@runtime_checkable
class _ScheduleFree(Protocol):
    """An optimizer that trains on other weights than those to use."""

    def eval(self) -> None:
        """Put the weights to use in place of those it trains on."""

    def train(self) -> None:
        """Put those it trains on back."""


def build(config: Config, adapter: Adapter) -> torch.optim.Optimizer:
    """The optimizer of the config; each of its groups keeps its base learning rate under ``initial_lr``.

    Raises:
        UserError: the package is missing, or an argument is unknown to the optimizer.
    """
    text = config.learning_rate if config.optimizer == "prodigy" else text_rate(config)
    rates = {"unet": config.learning_rate, "text": text}
    groups = [{"params": p, "lr": rates[part], "initial_lr": rates[part]} for part, p in _parameters(config, adapter)]
    arguments = {"weight_decay": config.weight_decay, **_defaults(config), **_arguments(config)}
    kind = _class(config.optimizer)
    try:
        # prodigyopt prints; stdout belongs to the result.
        with redirect_stdout(io.StringIO()):
            built = kind(groups, lr=config.learning_rate, **_fused(config, adapter), **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(
            f"optimizer_args: {config.optimizer} does not take {config.optimizer_args} ({error}); correct or remove it."
        ) from error
    if config.optimizer == "prodigy" and "text" in adapter.groups():
        _scale(built, adapter.groups()["text"], text_rate(config) / config.learning_rate)
    return built


def state_bytes(name: str) -> int:
    """Bytes of optimizer state per trainable parameter."""
    return _STATE_BYTES[name]


def text_rate(config: Config) -> float:
    """Learning rate of the text encoders: ``text_encoder_lr``, or a tenth of the UNet's."""
    return config.text_encoder_lr or config.learning_rate / 10


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@contextmanager
def averaged(optimizer: torch.optim.Optimizer, adapter: Adapter) -> Iterator[None]:
    """The weights to use or save: a schedule-free optimizer trains on others (arXiv 2405.15682).

    The training weights come back from a copy, because switching there and back rounds.
    """
    if not isinstance(optimizer, _ScheduleFree):
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
    if isinstance(optimizer, _ScheduleFree):
        optimizer.train()


def _parameters(config: Config, adapter: Adapter) -> list[tuple[str, Any]]:
    """Adafactor factors matrices, so it needs each one; the others work element by element on the flat buffer."""
    if config.optimizer == "adafactor":
        return list(adapter.tensors().items())
    return [(part, [flat]) for part, flat in adapter.groups().items()]


def _scale(optimizer: torch.optim.Optimizer, weights: torch.Tensor, share: float) -> None:
    """Train ``weights`` at ``share`` of the learning rate, for an optimizer that takes one rate for all groups.

    Prodigy sees weights / share, whose gradient is gradient * share: a step of its size there is share times as
    large here.
    """
    if share == 1:
        return

    @torch.no_grad()
    def before(*_: Any) -> None:
        weights.data.div_(share)
        if weights.grad is not None:
            weights.grad.mul_(share)

    @torch.no_grad()
    def after(*_: Any) -> None:
        weights.data.mul_(share)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def _defaults(config: Config) -> dict[str, Any]:
    """Arguments that suit LoRAs better than the package's defaults."""
    if config.optimizer == "adafactor":
        return {"scale_parameter": False, "relative_step": False, "warmup_init": False}
    if config.optimizer == "prodigy":
        # The safeguard belongs to a warm-up; without one it only delays the estimate of the rate.
        return {"safeguard_warmup": config.lr_warmup_steps > 0, "use_bias_correction": True}
    return {}


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
