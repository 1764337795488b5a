"""What a run would do and take, said before it starts; no weight is read, no picture decoded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..adapters.adapter import Adapter
from ..adapters.targets import select
from ..config import Config
from ..dataset import plan, source
from ..dataset.source import Dataset
from . import notices, optimizer, run
from .attach import attached

if TYPE_CHECKING:
    from ..hosts.base import Inspection, Target

_FILE_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
# A weight and its gradient, float32 each.
_BYTES_PER_PARAMETER = 8


@dataclass(frozen=True)
class Estimate:
    """A run foretold; memory in bytes.

    Attributes:
        flops: floating-point operations of all steps.
        notices: what the user should know about the config.
    """

    model: Inspection
    dataset: Dataset
    steps: int
    steps_per_epoch: int
    layers: int
    parameters: int
    file_bytes: int
    weight_bytes: int
    adapter_bytes: int
    activation_bytes: int
    flops: float
    notices: list[str]

    @property
    def extra_bytes(self) -> int:
        """What a step takes beside the frozen weights."""
        return self.adapter_bytes + self.activation_bytes

    @property
    def memory_bytes(self) -> int:
        """Peak of a step: frozen weights, adapter with its optimizer, activations kept for the backward pass."""
        return self.weight_bytes + self.extra_bytes

    def lines(self) -> list[str]:
        """The estimate for a person."""
        model = self.model
        said = [
            f"base model   {model.name}: {model.family}, {model.prediction_type or 'asked when loaded'}, "
            f"on {model.device} in {str(model.dtype).removeprefix('torch.')}",
            f"pictures     {len(self.dataset.examples)} used, {len(self.dataset.skipped)} skipped, "
            f"{self.dataset.without_caption} without a caption",
        ]
        said += [f"  bucket     {w}x{h}: {count}" for (w, h), count in self.dataset.buckets().items()]
        said += [f"  skipped    {one.name}: {one.reason}" for one in self.dataset.skipped]
        said += [f"  warning    {text}" for text in (*self.dataset.warnings, *self.notices)]
        said += [
            f"steps        {self.steps} ({self.steps_per_epoch} an epoch)",
            f"adapter      {self.layers} layers, {self.parameters:,} parameters, file {_mb(self.file_bytes)}",
            f"memory       about {_mb(self.memory_bytes)}: model {_mb(self.weight_bytes)}, "
            f"adapter and optimizer {_mb(self.adapter_bytes)}, activations {_mb(self.activation_bytes)}",
        ]
        return said

    def to_dict(self) -> dict[str, Any]:
        """The estimate for a program."""
        return {
            "dry_run": True,
            "family": self.model.family,
            "prediction_type": self.model.prediction_type,
            "pictures": len(self.dataset.examples),
            "buckets": {f"{w}x{h}": count for (w, h), count in self.dataset.buckets().items()},
            "skipped": [{"picture": one.name, "reason": one.reason} for one in self.dataset.skipped],
            "without_caption": self.dataset.without_caption,
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "layers": self.layers,
            "parameters": self.parameters,
            "file_bytes": self.file_bytes,
            "memory_bytes": self.memory_bytes,
            "warnings": [*self.dataset.warnings, *self.notices],
        }


def estimate(config: Config, model: Inspection, processes: int = 1) -> Estimate:
    """Foretell the run of ``config`` on ``model`` by ``processes`` processes.

    Raises:
        UserError: the run could not start.
    """
    dataset = source.read(config, config.sides(model.resolution), model.vae_factor)
    steps_per_epoch = plan.steps_per_epoch(dataset.examples, config, processes)
    targets = select(model.targets, config.target, config.train_text_encoder)
    adapter = Adapter(targets, config.lora_rank, config.alpha, device="meta", dtype=model.dtype)
    parameters = adapter.weights.numel()
    steps = run.total_steps(config, steps_per_epoch)
    activation_bytes, flops = _one_batch(model, targets, dataset, config)
    return Estimate(
        model=model,
        dataset=dataset,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        layers=len(targets),
        parameters=parameters,
        file_bytes=parameters * _FILE_BYTES[config.save_precision],
        weight_bytes=_weight_bytes(model, config),
        adapter_bytes=parameters * (_BYTES_PER_PARAMETER + optimizer.state_bytes(config.optimizer)),
        activation_bytes=activation_bytes,
        flops=flops / config.batch_size * _visits(dataset, config) * steps / steps_per_epoch,
        notices=notices.of(config, steps),
    )


def _weight_bytes(model: Inspection, config: Config) -> int:
    """On an accelerator the encoders leave before the first step; on a CPU there is nowhere to go."""
    stays = {"unet"} | ({"te1", "te2"} if config.train_text_encoder else set())
    return sum(size.bytes for part, size in model.sizes.items() if part in stays or model.device.type == "cpu")


def _visits(dataset: Dataset, config: Config) -> float:
    """Pictures looked at in an epoch, each counted by its size: one of the largest bucket is 1."""
    areas = [width * height for width, height in (example.bucket for example in dataset.examples)]
    steps = plan.epoch_steps(dataset.examples, config, 0, 1)
    return sum(areas[visit.example] for micros in steps for micro in micros for visit in micro) / max(areas)


def _one_batch(model: Inspection, targets: list[Target], dataset: Dataset, config: Config) -> tuple[int, int]:
    """A batch of the largest bucket, computed on meta tensors: the bytes autograd keeps between forward and backward,
    and the operations of both."""
    width, height = max(dataset.buckets(), key=lambda size: size[0] * size[1])
    unet = [target for target in targets if target.part == "unet"]
    adapter = Adapter(unet, config.lora_rank, config.alpha, device="meta", dtype=model.dtype)
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with ExitStack() as stack:
        recomputed = config.gradient_checkpointing
        stack.enter_context(attached(adapter, model.targets, model.blocks(), gradient_checkpointing=recomputed))
        counted = stack.enter_context(_Counted())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        answer = model.predict(config.batch_size, width, height)
        for stored in (*model.unet.parameters(), *model.unet.buffers(), adapter.weights):
            kept.pop(stored.untyped_storage()._cdata, None)
        total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del answer
    # Frozen weights get no gradient: the way back costs as much as the way there.
    return total, counted.flops * (3 if config.gradient_checkpointing else 2)


class _Counted(TorchFunctionMode):
    """Counts the operations of matrix products and convolutions; attention is computed as CPUs and GPUs do, without
    keeping the scores, where meta tensors would take the long way."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            query, key = args[:2]
            self.flops += 4 * query.numel() * key.shape[-2]
            return _Attention.apply(*args[:3])
        answer = function(*args, **(kwargs or {}))
        if function in (F.linear, F.conv2d):
            self.flops += 2 * answer.numel() * args[1][0].numel()
        return answer


class _Attention(torch.autograd.Function):
    """What fused attention keeps: its three inputs and its output."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Shapes as ``scaled_dot_product_attention``'s; the numbers mean nothing."""
        answer = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, answer)
        return answer


def _mb(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
