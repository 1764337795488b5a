"""Flux.1's transformer (Black Forest Labs, https://github.com/black-forest-labs/flux) in its original layout."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import Conditioning, Target
from ..errors import UserError
from ..families.family import Family, Heads
from .denoiser import Denoiser
from .flux_blocks import PATCH, Embedder, StreamTransformer, axes, sinusoids
from .safetensors_file import Shape
from .targets import flux_targets
from .tokenizer import FLUX_TOKENS
from .weights import Source

_TIME_CHANNELS = 256
# diffusers' name -> original name, of modules that both have.
_OUTSIDE_BLOCKS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
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


class FluxTransformer(StreamTransformer):
    """Flux.1: modulated by timestep, guidance and CLIP's embedding.

    Attributes:
        guidance_embed: whether it takes a guidance scale (``dev``).
    """

    def __init__(self, *, pooled: int, guidance_embed: bool, width: int, **sizes: int) -> None:
        """``pooled`` in channels, the others as for ``StreamTransformer``."""
        super().__init__(width=width, modulated=True, **sizes)
        self.guidance_embed = guidance_embed
        self.time_in = Embedder(_TIME_CHANNELS, width)
        self.vector_in = Embedder(pooled, width)
        if guidance_embed:
            self.guidance_in = Embedder(_TIME_CHANNELS, width)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor, y: Tensor, guidance: Tensor) -> Tensor:
        """The flow, [batch, channels, height, width].

        Args:
            x: noisy latents of that shape, sides in multiples of 2.
            timestep: float32 [batch] in 0 to 1, where 1 is noise.
            context: [batch, tokens, context].
            y: [batch, pooled].
            guidance: [batch], the guidance scale.
        """
        vector = self.time_in(sinusoids(timestep, _TIME_CHANNELS).to(x.dtype)) + self.vector_in(y)
        if self.guidance_embed:
            vector = vector + self.guidance_in(sinusoids(guidance, _TIME_CHANNELS).to(x.dtype))
        return self.flow(
            x,
            context,
            [(block.img_mod(vector), block.txt_mod(vector)) for block in self.doubles()],
            [block.modulation(vector) for block in self.singles()],
            self.final_layer.adaLN_modulation(vector)[:, None].chunk(2, dim=-1),
        )


class Flux(Denoiser[FluxTransformer]):
    """See ``Denoiser``."""

    title = "transformer"
    name = "Flux"
    folder = "transformer"
    class_name = "FluxTransformer2DModel"
    marker = "double_blocks.0.img_attn.qkv.weight"

    def config(self, shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
        """See ``Denoiser.config``."""
        width, patch = shapes["img_in.weight"]
        return {
            "width": width,
            "head_channels": shapes["double_blocks.0.img_attn.norm.query_norm.scale"][0],
            "doubles": _count(shapes, "double_blocks.{}.img_attn.qkv.weight"),
            "singles": _count(shapes, "single_blocks.{}.linear1.weight"),
            "patch": patch,
            "context": shapes["txt_in.weight"][1],
            "pooled": shapes["vector_in.in_layer.weight"][1],
            "mlp": shapes["double_blocks.0.img_mlp.0.weight"][0],
            "guidance_embed": "guidance_in.in_layer.weight" in shapes,
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
            "pooled": config["pooled_projection_dim"],
            "mlp": 4 * width,
            "guidance_embed": bool(config["guidance_embeds"]),
        }

    def folder_sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.folder_sources``."""
        sources = {}
        for name in names:
            module, _, leaf = name.rpartition(".")
            for original, source in _original_names(module, leaf):
                sources[original] = source
        return sources

    def require_trainable(self, path: Path, config: Mapping[str, Any]) -> None:
        """See ``Denoiser.require_trainable``."""
        channels = config.get("in_channels", 64)
        if channels != 64:
            raise UserError(
                f"{path}: this is a fill, depth or canny model ({channels} input channels); give the plain "
                "text-to-image version."
            )

    def build(self, config: Mapping[str, Any]) -> FluxTransformer:
        """See ``Denoiser.build``."""
        return FluxTransformer(**config)

    def latent_channels(self, module: FluxTransformer) -> int:
        """See ``Denoiser.latent_channels``."""
        return module.in_channels // PATCH**2

    def latent_multiple(self, module: FluxTransformer) -> int:
        """See ``Denoiser.latent_multiple``."""
        return PATCH

    def meta_conditioning(
        self, module: FluxTransformer, batch: int, family: Family, dtype: torch.dtype
    ) -> Conditioning:
        """See ``Denoiser.meta_conditioning``."""
        context, pooled = module.txt_in.in_features, module.vector_in.in_layer.in_features
        return Conditioning(
            torch.empty(batch, FLUX_TOKENS, context, device="meta", dtype=dtype),
            torch.empty(batch, pooled, device="meta", dtype=dtype),
        )

    def predict(
        self, module: FluxTransformer, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, guidance: float
    ) -> Tensor:
        """See ``Denoiser.predict``."""
        scale = torch.full((len(noisy),), guidance, device=noisy.device, dtype=torch.float32)
        return module(noisy, timesteps, conditioning.context, conditioning.pooled, scale)

    def targets(self, module: FluxTransformer, family: Family) -> Iterator[Target]:
        """See ``Denoiser.targets``."""
        return flux_targets(module)

    def blocks(self, module: FluxTransformer) -> Iterator[nn.Module]:
        """See ``Denoiser.blocks``."""
        yield from module.double_blocks
        yield from module.single_blocks


def _count(shapes: Mapping[str, Shape], name: str) -> int:
    return sum(name.format(number) in shapes for number in range(len(shapes)))


def _original_names(module: str, leaf: str) -> Iterator[tuple[str, Source]]:
    """What a diffusers' tensor is the source of; of joined Linears the first one stands for all.

    Raises:
        ValueError: Flux has no such module.
    """
    name = f"{module}.{leaf}"
    if module in _OUTSIDE_BLOCKS:
        # diffusers has scale and shift of the last layer in the other order.
        yield (
            f"{_OUTSIDE_BLOCKS[module]}.{leaf}",
            Source(name, _halves_swapped if module == "norm_out.linear" else None),
        )
        return
    found = _BLOCK.match(module)
    if found is None:
        raise ValueError(f"it has a module {module}, which Flux has not")
    single = found[1].startswith("single")
    head, inner = f"{'single' if single else 'double'}_blocks.{found[2]}", module[found.end() :]
    for joined, parts in (_JOINED_SINGLE if single else _JOINED_DOUBLE).items():
        if inner in parts:
            if inner == parts[0]:
                first, *below = (f"{found[0]}{part}.{leaf}" for part in parts)
                yield f"{head}.{joined}.{leaf}", Source(first, below=tuple(below))
            return
    original = (_SINGLE if single else _DOUBLE).get(inner)
    if original is None:
        raise ValueError(f"it has a module {module}, which Flux has not")
    yield f"{head}.{original}.{'scale' if original.endswith('_norm') else leaf}", Source(name)


def _halves_swapped(tensor: Tensor) -> Tensor:
    return torch.cat(tensor.chunk(2)[::-1])
