"""The text encoders of a checkpoint: configurations read off the shapes, names translated.

Two layouts: transformers' own (``text_model.encoder.layers...``; SD1, SDXL's first) and open_clip's
(``transformer.resblocks...``; SD2, SDXL's second), which stacks query, key and value and holds the text projection
transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .layer_names import open_clip_to_hf
from .safetensors_file import Shape
from .weights import Source

HEAD_CHANNELS = 64
_EMBEDDINGS = "text_model.embeddings"


def text_config(shapes: Mapping[str, Shape], activation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``CLIPTextConfig`` of a text encoder whose tensors, under transformers' names, have these ``shapes``.

    Args:
        shapes: of the layers that are used.
        activation: of its feed-forward layers: ``quick_gelu`` in OpenAI's CLIP, ``gelu`` in open_clip's.
        given: a configuration for what the shapes do not show.

    Raises:
        ValueError: its width does not split into heads of 64 channels, as CLIP's does.
    """
    vocabulary, width = shapes[f"{_EMBEDDINGS}.token_embedding.weight"]
    if width % HEAD_CHANNELS and "num_attention_heads" not in given:
        raise ValueError(f"its text encoder is {width} channels wide, which heads of {HEAD_CHANNELS} do not divide")
    layers = sum(f"text_model.encoder.layers.{layer}.mlp.fc1.weight" in shapes for layer in range(len(shapes)))
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": layers,
        "num_attention_heads": given.get("num_attention_heads", width // HEAD_CHANNELS),
        "max_position_embeddings": shapes[f"{_EMBEDDINGS}.position_embedding.weight"][0],
        "hidden_act": given.get("hidden_act", activation),
        "projection_dim": shapes.get("text_projection.weight", (width,))[0],
        "layer_norm_eps": given.get("layer_norm_eps", 1e-5),
    }


def build_clip(config: Mapping[str, Any]) -> nn.Module:
    """transformers' CLIP text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**config))


def build_projected_clip(config: Mapping[str, Any]) -> nn.Module:
    """transformers' CLIP text encoder with its projection."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(CLIPTextConfig(**config))


def hf_sources(names: Iterable[str]) -> dict[str, Source]:
    """Where each tensor lies among ``names`` in transformers' layout.

    Old files lack the leading ``text_model``; some carry position numbers or leftovers of a whole CLIP, left out here.
    """
    sources = {}
    for name in names:
        inner = name.removeprefix("text_model.")
        if inner.startswith(("embeddings.", "encoder.", "final_layer_norm.")) and not inner.endswith("position_ids"):
            sources[f"text_model.{inner}"] = Source(name)
    return sources


def open_clip_sources(names: Iterable[str], layers: int, projection: bool) -> dict[str, Source]:
    """Where each tensor of a transformers text encoder lies among ``names`` in open_clip's layout.

    Args:
        names: relative to the prefix of the text encoder.
        layers: how many of its layers are wanted.
        projection: whether the text projection is.

    Raises:
        ValueError: open_clip has no tensor of some name.
    """
    sources = {}
    for name in names:
        paths = open_clip_to_hf(name)
        if name.startswith("transformer.resblocks.") and int(name.split(".")[2]) >= layers:
            continue
        if name == "text_projection":
            sources.update({paths[0]: Source(name, torch.t)} if projection else {})
        elif len(paths) == 1:
            sources[paths[0]] = Source(name)
        else:
            sources.update({path: Source(name, _third(part)) for part, path in enumerate(paths)})
    return sources


def open_clip_layers(names: Iterable[str]) -> int:
    """How many layers a text encoder in open_clip's layout has."""
    return 1 + max((int(name.split(".")[2]) for name in names if name.startswith("transformer.resblocks.")), default=-1)


def hf_to_open_clip(state: Mapping[str, Tensor], unused_layer: bool) -> dict[str, Tensor]:
    """A transformers text encoder's state dict in open_clip's layout.

    Args:
        state: its tensors, names starting with ``text_model.`` (and ``text_projection.weight``).
        unused_layer: append a copy of the last layer, for SD2: its files hold one layer more than is used.
    """
    state = dict(state)
    last = max(int(name.split(".")[3]) for name in state if ".layers." in name)
    if unused_layer:
        old, new = f".layers.{last}.", f".layers.{last + 1}."
        state.update({name.replace(old, new): tensor for name, tensor in state.items() if old in name})
    width = state[f"{_EMBEDDINGS}.token_embedding.weight"].shape[1]
    # open_clip's model always has a projection; SD2 does not use it.
    state.setdefault("text_projection.weight", torch.eye(width))
    sources = open_clip_sources(_open_clip_names(last + 1 + unused_layer), last + 1 + unused_layer, projection=True)
    pieces: dict[str, list[Tensor]] = {}
    for path, source in sources.items():
        pieces.setdefault(source.name, []).append(state[path].t() if source.change is torch.t else state[path])
    return {name: torch.cat(tensors).contiguous() for name, tensors in pieces.items()}


def _open_clip_names(layers: int) -> list[str]:
    modules = ("ln_1", "ln_2", "attn.out_proj", "mlp.c_fc", "mlp.c_proj")
    leaves = [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]
    leaves += ["attn.in_proj_weight", "attn.in_proj_bias"]
    outside = ["positional_embedding", "token_embedding.weight", "ln_final.weight", "ln_final.bias", "text_projection"]
    return outside + [f"transformer.resblocks.{layer}.{leaf}" for layer in range(layers) for leaf in leaves]


def _third(part: int) -> Callable[[Tensor], Tensor]:
    return partial(_chunk, part=part)


def _chunk(stacked: Tensor, part: int) -> Tensor:
    return stacked.chunk(3)[part]
