"""What a base model is and would take, without loading it: for dry runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..adapters.targets import text_targets, unet_targets
from ..config import Config
from .base import Inspection, Size, Target
from .checkpoint import read_checkpoint
from .device import pick_device, pick_dtype
from .low_bits import keep_in_8_bits
from .parts import Checkpoint
from .standalone_session import unet_blocks
from .text import tokenizers


@dataclass(frozen=True)
class CheckpointInspection(Inspection):
    """A base model as its headers tell it; see ``hosts.base.Inspection``.

    Attributes:
        prediction_type: None for an SD2 checkpoint that does not say; training asks the model itself.
    """

    zero_terminal_snr: bool

    def blocks(self) -> Iterator[nn.Module]:
        """As ``Session.blocks``."""
        return unet_blocks(self.unet)

    def predict(self, batch: int, width: int, height: int) -> Tensor:
        """What the UNet would do with ``batch`` pictures of ``width`` x ``height`` pixels, on the meta device."""
        told = self.unet.config

        def empty(*shape: int) -> Tensor:
            return torch.empty(batch, *shape, device="meta", dtype=self.dtype)

        added = None
        if self.family == "sdxl":
            pooled = told.projection_class_embeddings_input_dim - 6 * told.addition_time_embed_dim
            added = {"text_embeds": empty(pooled), "time_ids": empty(6)}
        return self.unet(
            empty(told.in_channels, height // self.vae_factor, width // self.vae_factor),
            torch.zeros(batch, dtype=torch.int64, device="meta"),
            encoder_hidden_states=empty(77, told.cross_attention_dim),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]


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
    sizes = {"unet": _size(unet), "vae": _size(checkpoint.vae.skeleton.to(torch.float32))}
    sizes.update({name: _size(part.skeleton.to(dtype)) for name, part in checkpoint.text_parts().items()})
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
        targets=list(_targets(checkpoint)),
    )


def _targets(checkpoint: Checkpoint) -> Iterator[Target]:
    yield from unet_targets(checkpoint.unet.skeleton, checkpoint.family)
    for part, text in checkpoint.text_parts().items():
        yield from text_targets(text.skeleton, checkpoint.family, part)


def _size(model: nn.Module) -> Size:
    # Of buffers only the scales of weights of 8 bits.
    held = [*model.parameters(), *(one for one in model.buffers() if one.is_floating_point())]
    parameters = sum(one.numel() for one in model.parameters())
    return Size(parameters, sum(one.numel() * one.element_size() for one in held))
