"""Chroma's transformer (https://huggingface.co/lodestones/Chroma1-HD): Flux's blocks, modulated by one network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import Conditioning
from ..families.family import Family, Heads
from .flux_blocks import Embedder, Norm, StreamTransformer, sinusoids
from .safetensors_file import Shape
from .stream_denoiser import StreamDenoiser, count, original_names
from .tokenizer import FLUX_TOKENS
from .weights import Source

_GUIDANCE = "distilled_guidance_layer"
_OUTSIDE_BLOCKS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer.linear",
    f"{_GUIDANCE}.in_proj": f"{_GUIDANCE}.in_proj",
    f"{_GUIDANCE}.out_proj": f"{_GUIDANCE}.out_proj",
}
_EMBEDDER = {"linear_1": "in_layer", "linear_2": "out_layer"}


class ChromaTransformer(StreamTransformer):
    """Chroma: its blocks' modulation is a table that a network gives for a timestep; there is no guidance scale."""

    def __init__(
        self, *, width: int, guidance_channels: int, guidance_width: int, guidance_layers: int, **sizes: int
    ) -> None:
        """Widths in channels; ``guidance_`` is of the network, the others as for ``StreamTransformer``."""
        super().__init__(width=width, modulated=False, **sizes)
        self._channels = guidance_channels
        self.distilled_guidance_layer = _Approximator(guidance_channels, guidance_width, guidance_layers, width)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """The flow, [batch, channels, height, width].

        Args:
            x: noisy latents of that shape, sides in multiples of 2.
            timestep: float32 [batch] in 0 to 1, where 1 is noise.
            context: [batch, tokens, context].
            mask: bool [batch, tokens], the tokens that are attended to; None for all.
        """
        rows = self._table(timestep, x.dtype)[:, :, None].unbind(1)
        singles, doubles = 3 * len(self.single_blocks), 6 * len(self.double_blocks)
        image, text = (_groups(rows[first : first + doubles], 6) for first in (singles, singles + doubles))
        return self.flow(x, context, list(zip(image, text, strict=True)), _groups(rows[:singles], 3), rows[-2:], mask)

    def _table(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """The modulation of all blocks and of the last layer, [batch, rows, width]: single blocks, then image and text
        of the double blocks."""
        count = 3 * len(self.single_blocks) + 12 * len(self.double_blocks) + 2
        quarter = self._channels // 4
        given = torch.cat([sinusoids(timestep, quarter), sinusoids(torch.zeros_like(timestep), quarter)], dim=-1)
        index = sinusoids(torch.arange(count, device=timestep.device), 2 * quarter)
        batch = len(timestep)
        inputs = torch.cat([given[:, None].expand(-1, count, -1), index.expand(batch, -1, -1)], dim=-1)
        return self.distilled_guidance_layer(inputs.to(dtype))


class _Approximator(nn.Module):
    def __init__(self, inputs: int, hidden: int, layers: int, width: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(inputs, hidden)
        self.layers = nn.ModuleList(Embedder(hidden, hidden) for _ in range(layers))
        self.norms = nn.ModuleList(Norm(hidden) for _ in range(layers))
        self.out_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))
        return self.out_proj(x)


def _groups(rows: tuple[Tensor, ...], size: int) -> list[tuple[Tensor, ...]]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


class Chroma(StreamDenoiser[ChromaTransformer]):
    """See ``Denoiser``. Rows of zeros in the context are padding, which is not attended to."""

    name = "Chroma"
    class_name = "ChromaTransformer2DModel"
    marker = f"{_GUIDANCE}.in_proj.weight"

    def config(self, shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
        """See ``Denoiser.config``."""
        hidden, channels = shapes[f"{_GUIDANCE}.in_proj.weight"]
        return {
            **super().config(shapes, heads),
            "guidance_channels": channels,
            "guidance_width": hidden,
            "guidance_layers": count(shapes, f"{_GUIDANCE}.layers.{{}}.in_layer.weight"),
        }

    def sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.sources``; some files hold leftovers of Flux's modulation."""
        return {name: Source(name) for name in names if "_mod." not in name and "odulation." not in name}

    def folder_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Denoiser.folder_config``."""
        return {
            **super().folder_config(config),
            "guidance_channels": config["approximator_num_channels"],
            "guidance_width": config["approximator_hidden_dim"],
            "guidance_layers": config["approximator_layers"],
        }

    def folder_sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.folder_sources``."""
        sources = {}
        for name in names:
            module, _, leaf = name.rpartition(".")
            parent, _, last = module.rpartition(".")
            if parent == f"{_GUIDANCE}.norms":
                sources[f"{module}.scale"] = Source(name)
            elif parent.startswith(f"{_GUIDANCE}.layers."):
                sources[f"{parent}.{_EMBEDDER[last]}.{leaf}"] = Source(name)
            else:
                sources.update(original_names(module, leaf, _OUTSIDE_BLOCKS))
        return sources

    def build(self, config: Mapping[str, Any]) -> ChromaTransformer:
        """See ``Denoiser.build``."""
        return ChromaTransformer(**config)

    def meta_conditioning(
        self, module: ChromaTransformer, batch: int, family: Family, dtype: torch.dtype
    ) -> Conditioning:
        """See ``Denoiser.meta_conditioning``."""
        context = module.txt_in.in_features
        return Conditioning(torch.empty(batch, FLUX_TOKENS, context, device="meta", dtype=dtype))

    def predict(
        self, module: ChromaTransformer, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, guidance: float
    ) -> Tensor:
        """See ``Denoiser.predict``."""
        return module(noisy, timesteps, conditioning.context, conditioning.context.ne(0).any(dim=-1))
