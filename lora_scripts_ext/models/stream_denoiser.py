"""What the denoisers of Flux's kind have in common: their configuration and names, their layers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..contract import Target
from ..errors import UserError
from ..families.family import Family, Heads
from .denoiser import Denoiser
from .flux_blocks import PATCH, StreamTransformer, axes
from .safetensors_file import Shape
from .targets import flux_targets
from .weights import Source

Transformer = TypeVar("Transformer", bound=StreamTransformer)

# diffusers' name -> original name, of modules that both have.
_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_SINGLE = {
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
# Original name -> the diffusers' Linears that stand below each other in it.
_JOINED_DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_JOINED_SINGLE = {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")}
_BLOCK = re.compile(r"(transformer_blocks|single_transformer_blocks)\.(\d+)\.")


class StreamDenoiser(Denoiser[Transformer]):
    """See ``Denoiser``."""

    title = "transformer"
    folder = "transformer"

    def config(self, shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
        """See ``Denoiser.config``."""
        width, patch = shapes["img_in.weight"]
        return {
            "width": width,
            "head_channels": shapes["double_blocks.0.img_attn.norm.query_norm.scale"][0],
            "doubles": count(shapes, "double_blocks.{}.img_attn.qkv.weight"),
            "singles": count(shapes, "single_blocks.{}.linear1.weight"),
            "patch": patch,
            "context": shapes["txt_in.weight"][1],
            "mlp": shapes["double_blocks.0.img_mlp.0.weight"][0],
        }

    def sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.sources``."""
        return {name: Source(name) for name in names}

    def folder_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Denoiser.folder_config``."""
        head, width = config["attention_head_dim"], config["attention_head_dim"] * config["num_attention_heads"]
        if list(config.get("axes_dims_rope", axes(head))) != axes(head):
            raise ValueError(f"axes_dims_rope is {config['axes_dims_rope']}, expected {axes(head)}")
        return {
            "width": width,
            "head_channels": head,
            "doubles": config["num_layers"],
            "singles": config["num_single_layers"],
            "patch": config["in_channels"],
            "context": config["joint_attention_dim"],
            "mlp": 4 * width,
        }

    def require_trainable(self, path: Path, config: Mapping[str, Any]) -> None:
        """See ``Denoiser.require_trainable``."""
        channels = config.get("in_channels", 64)
        if channels != 64:
            raise UserError(
                f"{path}: this is a fill, depth or canny model ({channels} input channels); give the plain "
                "text-to-image version."
            )

    def latent_channels(self, module: Transformer) -> int:
        """See ``Denoiser.latent_channels``."""
        return module.in_channels // PATCH**2

    def latent_multiple(self, module: Transformer) -> int:
        """See ``Denoiser.latent_multiple``."""
        return PATCH

    def targets(self, module: Transformer, family: Family) -> Iterator[Target]:
        """See ``Denoiser.targets``."""
        return flux_targets(module)

    def blocks(self, module: Transformer) -> Iterator[nn.Module]:
        """See ``Denoiser.blocks``."""
        yield from module.doubles()
        yield from module.singles()


def count(shapes: Mapping[str, Shape], name: str) -> int:
    return sum(name.format(number) in shapes for number in range(len(shapes)))


def original_names(module: str, leaf: str, outside_blocks: Mapping[str, str]) -> dict[str, Source]:
    """What the parameter ``leaf`` of diffusers' ``module`` is the source of; of joined Linears the first one stands for
    all.

    Raises:
        ValueError: the model has no such module.
    """
    name = f"{module}.{leaf}"
    if module in outside_blocks:
        # diffusers has scale and shift of the last layer in the other order.
        change = _halves_swapped if module == "norm_out.linear" else None
        return {f"{outside_blocks[module]}.{leaf}": Source(name, change)}
    block = _BLOCK.match(module)
    if block is None:
        raise ValueError(f"it has a module {module} that is not known")
    single = block[1].startswith("single")
    head, inner = f"{'single' if single else 'double'}_blocks.{block[2]}", module[block.end() :]
    for joined, parts in (_JOINED_SINGLE if single else _JOINED_DOUBLE).items():
        if inner in parts:
            first, *below = (f"{block[0]}{part}.{leaf}" for part in parts)
            return {f"{head}.{joined}.{leaf}": Source(first, below=tuple(below))} if inner == parts[0] else {}
    original = (_SINGLE if single else _DOUBLE).get(inner)
    if original is None:
        raise ValueError(f"it has a module {module} that is not known")
    return {f"{head}.{original}.{'scale' if original.endswith('_norm') else leaf}": Source(name)}


def _halves_swapped(tensor: Tensor) -> Tensor:
    return torch.cat(tensor.chunk(2)[::-1])
