"""What a run would do and take, said before it starts; no weight is read, no picture decoded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..adapters.adapter import Adapter
from ..adapters.targets import select
from ..config import Config
from ..dataset import plan, source
from ..dataset.source import Dataset
from . import recompute, run

if TYPE_CHECKING:
    from ..hosts.inspection import Inspection

_FILE_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
# Weights, gradients and the optimizer's two moments, float32 each.
_BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class Estimate:
    """A run foretold; memory in bytes."""

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

    @property
    def memory_bytes(self) -> int:
        """Peak of a step: frozen weights, adapter with its optimizer, activations kept for the backward pass."""
        return self.weight_bytes + self.adapter_bytes + self.activation_bytes

    def lines(self) -> list[str]:
        """The estimate for a person."""
        model = self.model
        said = [
            f"base model   {model.name}: {model.family}, {model.prediction_type or 'asked when loaded'}, "
            f"on {model.device} in {str(model.dtype).removeprefix('torch.')}",
            f"pictures     {len(self.dataset.examples)} used, {len(self.dataset.skipped)} skipped",
        ]
        said += [f"  bucket     {w}x{h}: {count}" for (w, h), count in self.dataset.buckets().items()]
        said += [f"  skipped    {one.name}: {one.reason}" for one in self.dataset.skipped]
        said += [f"  warning    {text}" for text in self.dataset.warnings]
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
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "layers": self.layers,
            "parameters": self.parameters,
            "file_bytes": self.file_bytes,
            "memory_bytes": self.memory_bytes,
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
    return Estimate(
        model=model,
        dataset=dataset,
        steps=run.total_steps(config, steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        layers=len(targets),
        parameters=parameters,
        file_bytes=parameters * _FILE_BYTES[config.save_precision],
        weight_bytes=_weight_bytes(model, config),
        adapter_bytes=parameters * _BYTES_PER_PARAMETER,
        activation_bytes=_activation_bytes(model, adapter, dataset, config),
    )


def _weight_bytes(model: Inspection, config: Config) -> int:
    """On an accelerator the encoders leave before the first step; on a CPU there is nowhere to go."""
    stays = {"unet"} | ({"te1", "te2"} if config.train_text_encoder else set())
    return sum(size.bytes for part, size in model.sizes.items() if part in stays or model.device.type == "cpu")


def _activation_bytes(model: Inspection, adapter: Adapter, dataset: Dataset, config: Config) -> int:
    """Bytes autograd keeps between forward and backward for a batch of the largest bucket, counted on meta tensors."""
    width, height = max(dataset.buckets(), key=lambda size: size[0] * size[1])
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with ExitStack() as stack:
        stack.enter_context(adapter.attached())
        stack.enter_context(recompute.checkpointed(model.blocks(), enabled=config.gradient_checkpointing))
        stack.enter_context(_FusedAttention())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        answer = model.predict(config.batch_size, width, height)
        for parameter in (*model.unet.parameters(), adapter.weights):
            kept.pop(parameter.untyped_storage()._cdata, None)
        total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del answer
    return total


class _FusedAttention(TorchFunctionMode):
    """Attention as CPUs and GPUs compute it, without keeping the scores; meta tensors would take the long way."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.nn.functional.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args[:3])[0]
        return function(*args, **(kwargs or {}))


def _mb(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
