"""The VAE of a checkpoint in the original layout: its configuration read off the shapes, its names translated.

Names here are relative to ``first_stage_model.``. The layouts differ in more than names: the original numbers the
decoder's levels by resolution, diffusers by order, and the original's attention projections are 1x1 convolutions
[channels, channels, 1, 1] where diffusers has Linear weights [channels, channels].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from .safetensors_file import Shape
from .weights import Source

_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_PROJECTIONS = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
_PATTERNS = (
    ("encoder.down.{0}.block.{1}.nin_shortcut", "encoder.down_blocks.{0}.resnets.{1}.conv_shortcut"),
    ("encoder.down.{0}.block.{1}", "encoder.down_blocks.{0}.resnets.{1}"),
    ("encoder.down.{0}.downsample.conv", "encoder.down_blocks.{0}.downsamplers.0.conv"),
    ("decoder.up.{0}.block.{1}.nin_shortcut", "decoder.up_blocks.{0}.resnets.{1}.conv_shortcut"),
    ("decoder.up.{0}.block.{1}", "decoder.up_blocks.{0}.resnets.{1}"),
    ("decoder.up.{0}.upsample.conv", "decoder.up_blocks.{0}.upsamplers.0.conv"),
    *((f"{side}.mid.block_1", f"{side}.mid_block.resnets.0") for side in ("encoder", "decoder")),
    *((f"{side}.mid.block_2", f"{side}.mid_block.resnets.1") for side in ("encoder", "decoder")),
    *(
        (f"{side}.mid.attn_1.{original}", f"{side}.mid_block.attentions.0.{name}")
        for side in ("encoder", "decoder")
        for original, name in _ATTENTION.items()
    ),
    *((f"{side}.norm_out", f"{side}.conv_norm_out") for side in ("encoder", "decoder")),
)


def vae_config(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The ``AutoencoderKL`` configuration of a VAE with tensors of these ``shapes``.

    Raises:
        ValueError: it is not built as the VAEs of Stable Diffusion and Flux are.
    """
    shapes = _in_original_names(shapes)
    channels: list[int] = []
    while (name := f"encoder.down.{len(channels)}.block.0.conv2.weight") in shapes:
        channels.append(shapes[name][0])
    layers = sum(f"encoder.down.0.block.{layer}.conv2.weight" in shapes for layer in range(len(shapes)))
    if not channels or any(name.startswith("encoder.down.0.attn.") for name in shapes):
        raise ValueError("it is not built as the autoencoders of Stable Diffusion are")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": layers,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def build_vae(config: Mapping[str, Any]) -> nn.Module:
    """diffusers' autoencoder."""
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_config(dict(config))


def vae_sources(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, Source]:
    """Where each tensor of the diffusers VAE lies among ``names``, original ones or diffusers' own; tensors of neither
    are left out."""
    levels = len(config["block_out_channels"])
    sources = {}
    for name in names:
        if not name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
            continue
        path = _translate(name, levels, ((original, path) for original, path in _PATTERNS))
        sources[path] = Source(name, _flatten if path.endswith(_PROJECTIONS) else None)
    return sources


def vae_to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers VAE's state dict in the original layout, its attention projections as 1x1 convolutions."""
    levels = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.down_blocks."))
    original = {}
    for name, tensor in state.items():
        translated = _translate(name, levels, ((path, original) for original, path in _PATTERNS))
        original[translated] = tensor[..., None, None] if name.endswith(_PROJECTIONS) else tensor
    return original


def _in_original_names(shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
    """``shapes`` as they are, or of a VAE in diffusers' names, as some files have it."""
    levels = [int(name.split(".")[2]) for name in shapes if name.startswith("encoder.down_blocks.")]
    if not levels:
        return shapes
    pairs = [(path, original) for original, path in _PATTERNS]
    return {_translate(name, 1 + max(levels), pairs): shape for name, shape in shapes.items()}


def _translate(name: str, levels: int, patterns: Iterable[tuple[str, str]]) -> str:
    """``name`` with its head rewritten by the first of ``patterns`` that fits, decoder levels counted backwards."""
    for pattern, replacement in patterns:
        expression = re.escape(pattern).replace(r"\{0\}", r"(\d+)").replace(r"\{1\}", r"(\d+)")
        head = re.match(rf"{expression}(?=\.)", name)
        if head:
            numbers = [int(number) for number in head.groups()]
            if pattern.startswith("decoder.up") and numbers:
                numbers[0] = levels - 1 - numbers[0]
            return replacement.format(*numbers) + name[head.end() :]
    return name


def _flatten(weight: Tensor) -> Tensor:
    """A 1x1 convolution's weight as a Linear's; some files store it as that already."""
    return weight.reshape(weight.shape[:2])
