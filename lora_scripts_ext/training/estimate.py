"""The estimate of a run before it starts; no weight is read, no image decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..dataset import plan, source
from ..dataset.example import Example
from ..dataset.source import Dataset
from ..memory_limits import gigabytes
from ..precision import DTYPES
from . import held_out, memory_plan, notices, run
from .memory_plan import Fit

if TYPE_CHECKING:
    from ..contract import Inspection


@dataclass(frozen=True)
class Estimate:
    """The estimate of a run; memory in bytes.

    Attributes:
        held_out: images of the dataset that are not trained on; fewer where some look alike.
        activation_bytes: kept between the forward and the backward pass of a batch.
        transient_bytes: what the two passes need beside these at their peak.
        text_bytes: the captions' embeddings that are held in memory; on an accelerator they may wait beside it.
        vae_bytes: for encoding an image or drawing a preview, when the passes' memory is free again; 0 on an
            accelerator.
        memory_note: a sentence where fewer images are computed at once than a batch has, or the run does not fit.
        flops: floating-point operations of all steps.
        notices: what the user should know about the config.
    """

    model: Inspection
    dataset: Dataset
    held_out: int
    steps: int
    steps_per_epoch: int
    layers: int
    parameters: int
    file_bytes: int
    weight_bytes: int
    adapter_bytes: int
    activation_bytes: int
    transient_bytes: int
    text_bytes: int
    vae_bytes: int
    fit: Fit
    memory_note: str | None
    flops: float
    notices: list[str]

    @property
    def extra_bytes(self) -> int:
        """What a step takes beside the frozen weights."""
        return self.adapter_bytes + self.activation_bytes + self.transient_bytes

    @property
    def memory_bytes(self) -> int:
        """Peak of a run: frozen weights, adapter with its optimizer, and the larger one of a step's two passes and the
        VAE's work on an image; on a CPU the captions' embeddings, too."""
        held = self.text_bytes if self.model.device.type == "cpu" else 0
        return self.weight_bytes + held + max(self.extra_bytes, self.adapter_bytes + self.vae_bytes)

    def lines(self) -> list[str]:
        """The estimate for a person."""
        model = self.model
        lines = [
            f"base model   {model.name}: {model.family}, {model.prediction_type or 'known when loaded'}, "
            f"on {model.device} in {str(model.dtype).removeprefix('torch.')}",
            f"images       {len(self.dataset.examples)} used, {self.held_out} of them held out, "
            f"{len(self.dataset.skipped)} skipped, {self.dataset.without_caption} without a caption",
        ]
        lines += [f"  bucket     {w}x{h}: {count}" for (w, h), count in self.dataset.buckets().items()]
        lines += [f"  skipped    {one.name}: {one.reason}" for one in self.dataset.skipped]
        lines += [f"  warning    {text}" for text in (*self.dataset.warnings, *self.notices)]
        lines += [
            f"steps        {self.steps} ({self.steps_per_epoch} an epoch)",
            f"adapter      {self.layers} layers, {self.parameters:,} parameters, file {gigabytes(self.file_bytes)}",
            f"memory       about {gigabytes(self.memory_bytes)}: model {gigabytes(self.weight_bytes)}, "
            f"adapter and optimizer {gigabytes(self.adapter_bytes)}, activations {gigabytes(self.activation_bytes)}, "
            f"computing {gigabytes(self.transient_bytes)}, captions {gigabytes(self.text_bytes)}",
        ]
        if self.vae_bytes > self.activation_bytes + self.transient_bytes:
            lines.append(f"             of these {gigabytes(self.vae_bytes)} for encoding and drawing images")
        return lines + ([f"  warning    {self.memory_note}"] if self.memory_note else [])

    def to_dict(self) -> dict[str, Any]:
        """The estimate for a program."""
        return {
            "dry_run": True,
            "family": self.model.family,
            "prediction_type": self.model.prediction_type,
            "pictures": len(self.dataset.examples),
            "held_out_pictures": self.held_out,
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
            "free_bytes": self.fit.free,
            "images_at_once": self.fit.at_once,
            "fits": self.fit.fits,
        }


def estimate(config: Config, model: Inspection, processes: int = 1) -> Estimate:
    """Estimate the run of ``config`` on ``model`` by ``processes`` processes.

    Raises:
        UserError: the run could not start.
    """
    dataset = source.read(config, config.sides(model.resolution), model.vae_factor)
    trained = _trained(dataset.examples, config)
    steps_per_epoch = plan.steps_per_epoch(trained, config, processes)
    steps = run.total_steps(config, steps_per_epoch)
    step = memory_plan.StepMemory(model, config, dataset)
    passes = step.footprint(step.largest)
    beside = 0 if model.loaded else _weight_bytes(model, config)
    fit = memory_plan.fit(lambda images: beside + step.needs(images), memory_plan.free_for(model.device), step.largest)
    return Estimate(
        model=model,
        dataset=dataset,
        held_out=len(dataset.examples) - len(trained),
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        layers=step.layers,
        parameters=step.parameters,
        file_bytes=step.parameters * DTYPES[config.save_precision].itemsize,
        weight_bytes=_weight_bytes(model, config),
        adapter_bytes=step.adapter_bytes,
        activation_bytes=passes.kept_bytes,
        transient_bytes=passes.peak_bytes - passes.kept_bytes,
        text_bytes=step.text_bytes,
        vae_bytes=step.vae_bytes,
        fit=fit,
        memory_note=fit.sentence(config),
        flops=passes.flops / step.largest * _visits(trained, config) * steps / steps_per_epoch,
        notices=[*model.warnings, *notices.of(config, steps)],
    )


def _weight_bytes(model: Inspection, config: Config) -> int:
    """On an accelerator the encoders leave before the first step; on a CPU there is nowhere to go."""
    stays = {"unet"} | ({"te1", "te2"} if config.train_text_encoder else set())
    return sum(size.bytes for part, size in model.sizes.items() if part in stays or model.device.type == "cpu")


def _trained(examples: Sequence[Example], config: Config) -> list[Example]:
    """As many examples as are trained on: which are held out is decided by their latents."""
    count = held_out.expected(sum(not one.regularisation for one in examples), config)
    outside = [one for one in examples if not one.regularisation][:count]
    return [one for one in examples if one not in outside]


def _visits(examples: Sequence[Example], config: Config) -> float:
    """Images of an epoch, repeats included, each counted by its size: one of the largest bucket is 1."""
    areas = [width * height for width, height in (example.bucket for example in examples)]
    steps = plan.epoch_steps(examples, config, 0, 1)
    return sum(areas[visit.example] for micros in steps for micro in micros for visit in micro) / max(areas)
