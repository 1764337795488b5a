"""A base model inspected without loading its weights, for dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...config import Config
from ...contract import ModelInfo, Target
from ...families.registry import by_name
from ...models.checkpoint import read_checkpoint
from ...models.low_bits import keep_in_8_bits
from ...models.outline import MetaInspection, facts, size, text_without_numbers, without_numbers
from ...models.parts import Checkpoint
from ...models.targets import text_targets, unet_targets
from ...models.text import tokenizers
from ...models.text_states import TOKENS
from .device import pick_device, pick_dtype

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

_BLOCKS = ("ResnetBlock2D", "BasicTransformerBlock")


@dataclass(frozen=True)
class CheckpointInspection(MetaInspection):
    """A base model from its headers; see ``contract.Inspection``.

    Attributes:
        prediction_type: None for an SD2 checkpoint that does not say; training asks the model itself.
    """

    loaded = False

    zero_terminal_snr: bool
    unet: UNet2DConditionModel

    def blocks(self) -> Iterator[nn.Module]:
        """As ``Session.blocks``."""
        return unet_blocks(self.unet)

    def predict(self, batch: int, width: int, height: int, states: Sequence[Tensor] = ()) -> Tensor:
        """See ``contract.Inspection.predict``."""
        config = self.unet.config

        def empty(*shape: int) -> Tensor:
            return torch.empty(batch, *shape, device="meta", dtype=self.dtype)

        added = None
        if by_name(self.family).has_time_ids:
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            added = {"text_embeds": empty(pooled), "time_ids": empty(6)}
        return self.unet(
            empty(config.in_channels, height // self.vae_factor, width // self.vae_factor),
            torch.zeros(batch, dtype=torch.int64, device="meta"),
            encoder_hidden_states=torch.cat(list(states), -1) if states else empty(TOKENS, config.cross_attention_dim),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]


@dataclass(frozen=True)
class LoadedInspection(CheckpointInspection):
    """A base model that has been loaded; see ``contract.Inspection``."""

    loaded = True


def inspect(config: Config) -> CheckpointInspection:
    """Read the headers and configs of ``config.base_model`` and check them as loading would; no weight is read.

    Raises:
        UserError: it cannot be trained on, the device or number format is not there, or the tokenizer does not fit.
    """
    device = pick_device(config)
    dtype = pick_dtype(config, device)
    checkpoint = read_checkpoint(config)
    tokenizers(checkpoint, config)
    unet = checkpoint.unet.skeleton.to(dtype)
    if config.fp8_base:
        keep_in_8_bits(unet)
    texts = {name: part.skeleton.to(dtype) for name, part in checkpoint.text_parts().items()}
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
        texts=list(texts.values()),
        targets=list(targets(checkpoint, unet, list(texts.values()))),
        warnings=checkpoint.warnings,
    )


def outline(
    model: ModelInfo, checkpoint: Checkpoint, unet: nn.Module, vae: nn.Module, texts: Sequence[nn.Module]
) -> LoadedInspection:
    """The same of a model that has been loaded from ``checkpoint``; no weight is copied, nothing changed."""
    sizes = {"unet": size(unet), "vae": size(vae)}
    sizes |= {name: size(text) for name, text in zip(checkpoint.text_parts(), texts, strict=True)}
    unet, texts = without_numbers(unet), [text_without_numbers(text) for text in texts]
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
    yield from unet_targets(unet, checkpoint.family)
    for part, text in zip(checkpoint.text_parts(), texts, strict=True):
        yield from text_targets(text, checkpoint.family, part)


def unet_blocks(unet: nn.Module) -> Iterator[nn.Module]:
    """The residual and transformer blocks of a diffusers UNet: most activations live inside them, few between."""
    return (module for module in unet.modules() if type(module).__name__ in _BLOCKS)
