"""Flux.1's transformer (Black Forest Labs, https://github.com/black-forest-labs/flux) in its original layout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ..contract import Conditioning
from ..families.family import Family, Heads
from .flux_blocks import Embedder, StreamTransformer, sinusoids
from .safetensors_file import Shape
from .stream_denoiser import StreamDenoiser, original_names
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


class Flux(StreamDenoiser[FluxTransformer]):
    """See ``Denoiser``."""

    name = "Flux"
    class_name = "FluxTransformer2DModel"
    marker = "double_blocks.0.img_attn.qkv.weight"

    def config(self, shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
        """See ``Denoiser.config``."""
        return {
            **super().config(shapes, heads),
            "pooled": shapes["vector_in.in_layer.weight"][1],
            "guidance_embed": "guidance_in.in_layer.weight" in shapes,
        }

    def folder_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Denoiser.folder_config``."""
        return {
            **super().folder_config(config),
            "pooled": config["pooled_projection_dim"],
            "guidance_embed": bool(config["guidance_embeds"]),
        }

    def folder_sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.folder_sources``."""
        sources = {}
        for name in names:
            module, _, leaf = name.rpartition(".")
            sources.update(original_names(module, leaf, _OUTSIDE_BLOCKS))
        return sources

    def build(self, config: Mapping[str, Any]) -> FluxTransformer:
        """See ``Denoiser.build``."""
        return FluxTransformer(**config)

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
