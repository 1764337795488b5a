"""A base model inspected without loading its weights, for dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...base_models.checkpoint import read_checkpoint
from ...base_models.parts import Checkpoint
from ...base_models.tokenizers import tokenizers
from ...config import Config
from ...contract import Conditioning, ModelInfo, Target
from ...families.registry import by_name
from ...models.denoiser import Denoiser
from ...models.denoisers import DENOISERS
from ...models.low_bits import keep_in_8_bits
from ...models.outline import MetaInspection, facts, size, text_without_numbers, without_numbers
from ...models.targets import text_targets
from .device import pick_device, pick_dtype


@dataclass(frozen=True)
class CheckpointInspection(MetaInspection):
    """A base model from its headers; see ``contract.Inspection``.

    Attributes:
        prediction_type: None for an SD2 checkpoint that does not say; training asks the model itself.
    """

    loaded = False

    zero_terminal_snr: bool

    def blocks(self) -> Iterator[nn.Module]:
        """As ``Session.blocks``."""
        return self._denoiser.blocks(self.unet)

    def conditioning(self, batch: int) -> Conditioning:
        """See ``contract.Inspection.conditioning``."""
        return self._denoiser.meta_conditioning(self.unet, batch, by_name(self.family), self.dtype)

    def predict(self, batch: int, width: int, height: int, states: Sequence[Tensor] = ()) -> Tensor:
        """See ``contract.Inspection.predict``."""
        denoiser, unet, factor = self._denoiser, self.unet, self.vae_factor
        conditioning = self.conditioning(batch)
        if states:
            conditioning = replace(conditioning, context=torch.cat(list(states), -1))
        shape = (batch, denoiser.latent_channels(unet), height // factor, width // factor)
        noisy = torch.empty(shape, device="meta", dtype=self.dtype)
        return denoiser.predict(unet, noisy, torch.zeros(batch, device="meta"), conditioning, 1.0)

    @property
    def _denoiser(self) -> Denoiser[Any]:
        return DENOISERS[by_name(self.family).denoiser]


@dataclass(frozen=True)
class LoadedInspection(CheckpointInspection):
    """A base model that has been loaded; see ``contract.Inspection``."""

    loaded = True


def inspect(config: Config) -> CheckpointInspection:
    """Read the headers and configs of ``config.base_model`` and check them as loading would; no weight is read.

    Raises:
        UserError: it cannot be trained on, the device or precision is not available, or the tokenizer does not fit.
    """
    device = pick_device(config)
    dtype = pick_dtype(config, device)
    checkpoint = read_checkpoint(config)
    tokenizers(checkpoint, config)
    unet = checkpoint.unet.skeleton.to(dtype)
    if config.fp8_base:
        keep_in_8_bits(unet)
    texts = {name: part.skeleton.to(dtype) for name, part in checkpoint.text_parts().items()}
    trained = list(texts.values()) if by_name(checkpoint.family).trains_text_encoders else []
    sizes = {"unet": size(unet), "vae": size(checkpoint.vae.skeleton.to(torch.float32))}
    sizes |= {name: size(text) for name, text in texts.items()}
    return CheckpointInspection(
        name=checkpoint.name,
        family=checkpoint.family,
        prediction_type=checkpoint.prediction_type,
        zero_terminal_snr=checkpoint.schedule.zero_terminal_snr,
        vae_factor=checkpoint.vae_factor,
        resolution=checkpoint.resolution(checkpoint.prediction_type),
        device=device,
        dtype=dtype,
        sizes=sizes,
        unet=unet,
        texts=trained,
        targets=list(targets(checkpoint, unet, trained)),
        warnings=checkpoint.warnings,
    )


def outline(
    model: ModelInfo, checkpoint: Checkpoint, unet: nn.Module, vae: nn.Module, texts: Sequence[nn.Module]
) -> LoadedInspection:
    """The same of a model that has been loaded from ``checkpoint``; no weight is copied, nothing changed."""
    sizes = {"unet": size(unet), "vae": size(vae)}
    sizes |= {name: size(text) for name, text in zip(checkpoint.text_parts(), texts, strict=True)}
    trained = texts if by_name(model.family).trains_text_encoders else []
    unet, texts = without_numbers(unet), [text_without_numbers(text) for text in trained]
    return LoadedInspection(
        **facts(model),
        zero_terminal_snr=model.zero_terminal_snr,
        sizes=sizes,
        unet=unet,
        texts=texts,
        targets=list(targets(checkpoint, unet, texts)),
    )


def targets(checkpoint: Checkpoint, unet: nn.Module, texts: Sequence[nn.Module]) -> Iterator[Target]:
    """See ``Session.targets``; ``unet`` and ``texts`` are those of ``checkpoint``, on any device."""
    family = by_name(checkpoint.family)
    yield from DENOISERS[family.denoiser].targets(unet, family)
    if family.trains_text_encoders:
        for part, text in zip(checkpoint.text_parts(), texts, strict=True):
            yield from text_targets(text, family.name, part)
