"""T5's encoder as a text encoder: its configuration, read off the shapes of its tensors, and the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from .safetensors_file import Shape
from .weights import Source

_ATTENTION = "encoder.block.0.layer.0.SelfAttention"
_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")


def t5_config(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The ``T5Config`` of an encoder whose tensors have these ``shapes``: T5 1.1, with gated feed-forward layers.

    Raises:
        KeyError: tensors are missing.
    """
    vocabulary, width = shapes.get(_EMBEDDINGS[0]) or shapes[_EMBEDDINGS[1]]
    buckets, heads = shapes[f"{_ATTENTION}.relative_attention_bias.weight"]
    layers = sum(f"encoder.block.{layer}.layer.0.SelfAttention.q.weight" in shapes for layer in range(len(shapes)))
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[f"{_ATTENTION}.q.weight"][0] // heads,
        "d_ff": shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0],
        "num_layers": layers,
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
    }


def t5_sources(names: Collection[str]) -> dict[str, Source]:
    """Where each tensor of transformers' ``T5EncoderModel`` lies among ``names``; a decoder is left out.

    The embeddings have two names there, of which files hold one or both.
    """
    sources = {name: Source(name) for name in names if name.startswith("encoder.")}
    held = next((name for name in _EMBEDDINGS if name in names), None)
    return {**sources, **({name: Source(held) for name in _EMBEDDINGS} if held else {})}


class T5Text(T5EncoderModel):
    """The encoder, called with tokens, int64 [batch, tokens], and the mask of those that are attended to (None: all);
    gives its last layer [batch, tokens, width]."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """See the class."""
        return super().forward(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def build_t5(config: Mapping[str, Any]) -> T5Text:
    """An encoder of this ``T5Config``."""
    return T5Text(T5Config(**{**config, "use_cache": False}))


def widen_outputs(model: nn.Module) -> None:
    """Keep in float32 the layers of T5 whose outputs float16 cannot hold, as transformers does."""
    for name, module in model.named_modules():
        if name.endswith(".DenseReluDense.wo") and module.weight.dtype is torch.float16:
            module.float()
