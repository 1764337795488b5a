"""The UNet of a checkpoint in the original layout: its configuration read off the shapes, its names translated.

Names here are relative to ``model.diffusion_model.``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..families.family import Heads
from .layer_names import UNetLayout
from .safetensors_file import Shape
from .weights import Source

MIDDLE = "middle_block.1.transformer_blocks"


@dataclass(frozen=True)
class _Level:
    """The residual layers of one resolution: output channels and transformer depth (0: no attention) of each."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]


def unet_config(shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
    """The ``UNet2DConditionModel`` configuration of a UNet with tensors of these ``shapes``.

    Raises:
        ValueError: it is built in a way that Stable Diffusion 1, 2 and XL are not.
    """
    levels = _levels(shapes)
    layers = len(levels[0].channels)
    middle = _depth(shapes, "middle_block")
    if not middle:
        raise ValueError("its middle block has no cross-attention")
    if any(len(level.channels) != layers or len({*level.channels}) > 1 or len({*level.depths}) > 1 for level in levels):
        raise ValueError("the layers of its blocks differ in width, number or depth")
    channels = [level.channels[0] for level in levels]
    depths = [level.depths[0] for level in levels]
    # diffusers gives the middle block the last level's depth, also when that level itself has no attention.
    depths[-1] = depths[-1] or middle
    has_attention = [level.depths[0] > 0 for level in levels]
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if on else "DownBlock2D" for on in has_attention],
        "up_block_types": ["CrossAttnUpBlock2D" if on else "UpBlock2D" for on in reversed(has_attention)],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "cross_attention_dim": shapes[f"{MIDDLE}.0.attn2.to_k.weight"][1],
        "attention_head_dim": [heads.of(width) for width in channels],
        "use_linear_projection": len(shapes["middle_block.1.proj_in.weight"]) == 2,
        **_addition(shapes),
    }


def unet_sources(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, Source]:
    """Where each tensor of the diffusers UNet lies among the original ``names``.

    Raises:
        ValueError: a UNet of this ``config`` has no tensor of some name.
    """
    layout = UNetLayout.from_block_types(config["down_block_types"], config["layers_per_block"])
    return {layout.to_diffusers(name): Source(name) for name in names}


def unet_to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers UNet's state dict under the original names; shapes are the same in both."""
    levels = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("down_blocks."))
    attention = tuple(f"down_blocks.{level}.attentions.0.proj_in.weight" in state for level in range(levels))
    layers = sum(f"down_blocks.0.resnets.{layer}.conv1.weight" in state for layer in range(len(state)))
    layout = UNetLayout(layers, attention)
    return {layout.to_original(name): tensor for name, tensor in state.items()}


def _levels(shapes: Mapping[str, Shape]) -> list[_Level]:
    levels: list[list[tuple[int, int]]] = [[]]
    index = 1
    while True:
        block = f"input_blocks.{index}"
        if f"{block}.0.op.weight" in shapes:
            levels.append([])
        elif f"{block}.0.out_layers.3.weight" in shapes:
            levels[-1].append((shapes[f"{block}.0.out_layers.3.weight"][0], _depth(shapes, block)))
        else:
            break
        index += 1
    if not all(levels):
        raise ValueError("it has no residual layers where they belong")
    return [_Level(*zip(*layers)) for layers in levels]  # noqa: B905 (one iterable)


def _depth(shapes: Mapping[str, Shape], block: str) -> int:
    depth = 0
    while f"{block}.1.transformer_blocks.{depth}.norm1.weight" in shapes:
        depth += 1
    return depth


def _addition(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """SDXL's embedding of the pooled text and of six numbers: sizes and crop."""
    if "label_emb.0.0.weight" not in shapes:
        return {}
    return {
        "addition_embed_type": "text_time",
        "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
    }
