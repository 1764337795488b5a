"""What a text encoder would do with captions, on the meta device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .open_clip import OpenClipText

TOKENS = 77


def text_states(text: nn.Module, batch: int, dtype: torch.dtype) -> Tensor:
    """The last hidden states [batch, 77, width] of ``text``, an encoder on the meta device; all its layers are run."""
    encoder = text.get_submodule("text_model.encoder")
    width = len(text.get_parameter("text_model.encoder.layers.0.layer_norm1.weight"))
    states = torch.empty(batch, TOKENS, width, device="meta", dtype=dtype)
    if not isinstance(text, OpenClipText):
        return encoder(inputs_embeds=states)[0]
    for layer in encoder.get_submodule("layers").children():
        states = layer(states)
    return states
