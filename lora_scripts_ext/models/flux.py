"""Flux's transformer (Black Forest Labs, https://github.com/black-forest-labs/flux) in its original layout.

Query, key and value are one Linear here, as in its checkpoints and in the keys of LoRA files; diffusers'
``FluxTransformer2DModel`` has three. Trained as one, they share a down matrix, as in the WebUIs and kohya's scripts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contract import Conditioning, Target
from ..errors import UserError
from ..families.family import Family, Heads
from .denoiser import Denoiser
from .safetensors_file import Shape
from .targets import flux_targets
from .tokenizer import FLUX_TOKENS
from .weights import Source

_PATCH = 2
_EPSILON = 1e-6
_ROTARY_BASE = 10_000
# Channels of a head that turn with a token's index (0 for both streams), its row and its column, as shares of 16.
_AXES = (2, 7, 7)
_TIME_CHANNELS = 256
_TIME_SCALE = 1000.0
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


class FluxTransformer(nn.Module):
    """Predicts the flow of latents, in patches of 2 x 2.

    Attributes:
        in_channels: of a patch.
        guidance_embed: whether it takes a guidance scale (``dev``).
    """

    def __init__(
        self, *, width: int, head_channels: int, doubles: int, singles: int, patch: int, context: int, pooled: int,
        mlp: int, guidance_embed: bool,
    ) -> None:  # fmt: skip
        """Widths in channels; ``doubles`` and ``singles`` count the blocks."""
        super().__init__()
        self.in_channels = patch
        self.guidance_embed = guidance_embed
        self._head_channels = head_channels
        self._rotations: dict[tuple[Any, ...], Tensor] = {}
        self.img_in = nn.Linear(patch, width)
        self.txt_in = nn.Linear(context, width)
        self.time_in = _Embedder(_TIME_CHANNELS, width)
        self.vector_in = _Embedder(pooled, width)
        if guidance_embed:
            self.guidance_in = _Embedder(_TIME_CHANNELS, width)
        self.double_blocks = nn.ModuleList(DoubleStreamBlock(width, head_channels, mlp) for _ in range(doubles))
        self.single_blocks = nn.ModuleList(SingleStreamBlock(width, head_channels, mlp) for _ in range(singles))
        self.final_layer = _FinalLayer(width, patch)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor, y: Tensor, guidance: Tensor) -> Tensor:
        """The flow, [batch, channels, height, width].

        Args:
            x: noisy latents of that shape, sides in multiples of 2.
            timestep: float32 [batch] in 0 to 1, where 1 is noise.
            context: [batch, tokens, context].
            y: [batch, pooled].
            guidance: [batch], the guidance scale.
        """
        batch, channels, height, width = x.shape
        rows, columns = height // _PATCH, width // _PATCH
        vector = self.time_in(_sinusoids(timestep).to(x.dtype)) + self.vector_in(y)
        if self.guidance_embed:
            vector = vector + self.guidance_in(_sinusoids(guidance).to(x.dtype))
        rotation = self._rotation(context.shape[1], rows, columns, x.device)
        image, text = self.img_in(_to_patches(x)), self.txt_in(context)
        for block in self.double_blocks:
            image, text = block(image, text, vector, rotation)
        stream = torch.cat([text, image], dim=1)
        for block in self.single_blocks:
            stream = block(stream, vector, rotation)
        patches = self.final_layer(stream[:, text.shape[1] :], vector)
        patches = patches.view(batch, rows, columns, channels, _PATCH, _PATCH)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)

    def _rotation(self, words: int, rows: int, columns: int, device: torch.device) -> Tensor:
        """See :func:`_rotation`; kept, as computing it in float64 on the CPU would make the device wait."""
        key = (words, rows, columns, device)
        if key not in self._rotations:
            self._rotations[key] = _rotation(words, rows, columns, self._head_channels).to(device)
        return self._rotations[key]


class DoubleStreamBlock(nn.Module):
    """Image and text with weights of their own, and one attention over both."""

    def __init__(self, width: int, head_channels: int, mlp: int) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = _Modulation(width, 6), _Modulation(width, 6)
        self.img_attn, self.txt_attn = _Attention(width, head_channels), _Attention(width, head_channels)
        self.img_mlp, self.txt_mlp = _mlp(width, mlp), _mlp(width, mlp)

    def forward(self, image: Tensor, text: Tensor, vector: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Image and text [batch, tokens, width]."""
        image_mod, text_mod = self.img_mod(vector), self.txt_mod(vector)
        heads = zip(
            self.txt_attn.heads(_modulated(text, *text_mod[:2])),
            self.img_attn.heads(_modulated(image, *image_mod[:2])),
            strict=True,
        )
        query, key, value = (torch.cat(pair, dim=2) for pair in heads)
        attended = _attend(query, key, value, rotation)
        text_part, image_part = attended.split([text.shape[1], image.shape[1]], dim=1)
        return (
            _fed_forward(image + image_mod[2] * self.img_attn.proj(image_part), self.img_mlp, image_mod[3:]),
            _fed_forward(text + text_mod[2] * self.txt_attn.proj(text_part), self.txt_mlp, text_mod[3:]),
        )


class SingleStreamBlock(nn.Module):
    """Text and image as one sequence; attention and feed-forward layer side by side."""

    def __init__(self, width: int, head_channels: int, mlp: int) -> None:
        super().__init__()
        self.modulation = _Modulation(width, 3)
        self.linear1 = nn.Linear(width, 3 * width + mlp)
        self.linear2 = nn.Linear(width + mlp, width)
        self.norm = _HeadNorms(head_channels)
        self._parts = (3 * width, mlp)
        self._head_channels = head_channels

    def forward(self, x: Tensor, vector: Tensor, rotation: Tensor) -> Tensor:
        """[batch, tokens, width]."""
        shift, scale, gate = self.modulation(vector)
        projected, hidden = self.linear1(_modulated(x, shift, scale)).split(self._parts, dim=-1)
        attended = _attend(*_split_heads(projected, self._head_channels, self.norm), rotation)
        return x + gate * self.linear2(torch.cat([attended, F.gelu(hidden, approximate="tanh")], dim=-1))


class _Embedder(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(inputs, width)
        self.out_layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(x)))


class _Modulation(nn.Module):
    """Shift, scale and gate, once or twice."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, count * width)
        self._count = count

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.lin(F.silu(vector))[:, None].chunk(self._count, dim=-1)


class _Norm(nn.Module):
    """Root mean square norm of the last dimension, computed in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON)).to(x.dtype) * self.scale


class _HeadNorms(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_norm = _Norm(channels)
        self.key_norm = _Norm(channels)


class _Attention(nn.Module):
    """The layers of one stream around the attention."""

    def __init__(self, width: int, head_channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = _HeadNorms(head_channels)
        self.proj = nn.Linear(width, width)
        self._head_channels = head_channels

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, [batch, heads, tokens, channels] each."""
        return _split_heads(self.qkv(x), self._head_channels, self.norm)


class _FinalLayer(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, patch)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vector)[:, None].chunk(2, dim=-1)
        return self.linear(_modulated(x, shift, scale))


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=_EPSILON) + shift


def _fed_forward(x: Tensor, mlp: nn.Module, modulation: tuple[Tensor, ...]) -> Tensor:
    shift, scale, gate = modulation
    return x + gate * mlp(_modulated(x, shift, scale))


def _split_heads(projected: Tensor, head_channels: int, norms: _HeadNorms) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = projected.unflatten(-1, (3, -1, head_channels)).permute(2, 0, 3, 1, 4)
    return norms.query_norm(query), norms.key_norm(key), value


def _attend(query: Tensor, key: Tensor, value: Tensor, rotation: Tensor) -> Tensor:
    """[batch, tokens, width]."""
    attended = F.scaled_dot_product_attention(_rotated(query, rotation), _rotated(key, rotation), value)
    return attended.transpose(1, 2).flatten(2)


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Pairs of channels turned by the angles of their tokens (rotary embedding, arXiv 2104.09864), in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = rotation
    return torch.stack([cosine * even - sine * odd, sine * even + cosine * odd], dim=-1).flatten(-2).to(x.dtype)


def _rotation(words: int, rows: int, columns: int, head_channels: int) -> Tensor:
    """Cosines and sines of all tokens, words first: float32 [2, tokens, channels of a head / 2]."""
    grid = torch.zeros(words + rows * columns, 3, dtype=torch.float64)
    grid[words:, 1] = torch.arange(rows).repeat_interleave(columns)
    grid[words:, 2] = torch.arange(columns).repeat(rows)
    angles = []
    for axis, share in enumerate(_AXES):
        channels = head_channels * share // 16
        speeds = _ROTARY_BASE ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles.append(grid[:, axis, None] * speeds)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()]).float()


def _sinusoids(value: Tensor) -> Tensor:
    """Embedding of numbers [batch] in 0 to 1 (or a guidance scale), float32 [batch, 256]: cosines, then sines."""
    half = _TIME_CHANNELS // 2
    speeds = torch.exp(-math.log(_ROTARY_BASE) * torch.arange(half, device=value.device) / half)
    angle = _TIME_SCALE * value.float()[:, None] * speeds
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def _to_patches(x: Tensor) -> Tensor:
    """[batch, channels, height, width] -> [batch, patches, 4 channels]."""
    batch, channels, height, width = x.shape
    patches = x.view(batch, channels, height // _PATCH, _PATCH, width // _PATCH, _PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * _PATCH**2)


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
        axes = [head * share // 16 for share in _AXES]
        if list(config.get("axes_dims_rope", axes)) != axes:
            raise ValueError(f"axes_dims_rope is {config['axes_dims_rope']}, expected {axes}")
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
        return module.in_channels // _PATCH**2

    def latent_multiple(self, module: FluxTransformer) -> int:
        """See ``Denoiser.latent_multiple``."""
        return _PATCH

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
