"""Blocks of Flux and its relatives, in the original layout: image and text as two streams, then as one.

Query, key and value are one Linear here, as in checkpoints and in the keys of LoRA files; diffusers' models have three.
Trained as one, they share a down matrix, as in the WebUIs and kohya's scripts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: cells along one side of a patch
PATCH = 2
_EPSILON = 1e-6
_ROTARY_BASE = 10_000
# Channels of a head that turn with a token's index (0 for both streams), its row and its column, as shares of 16.
_AXES = (2, 7, 7)
_TIME_SCALE = 1000.0

Modulation = Sequence[Tensor]
"""Shift, scale and gate, [batch, 1, width] each, once or twice; the last layer has no gate."""


class StreamTransformer(nn.Module):
    """What predicts the flow of latents, in patches of 2 x 2.

    Attributes:
        in_channels: of a patch.
    """

    def __init__(
        self, *, width: int, head_channels: int, doubles: int, singles: int, patch: int, context: int, mlp: int,
        modulated: bool,
    ) -> None:  # fmt: skip
        """Widths in channels; ``doubles`` and ``singles`` count the blocks, ``modulated`` says whether these have
        layers for their modulation."""
        super().__init__()
        self.in_channels = patch
        self._head_channels = head_channels
        self._rotations: dict[tuple[Any, ...], Tensor] = {}
        self.img_in = nn.Linear(patch, width)
        self.txt_in = nn.Linear(context, width)
        sizes = (width, head_channels, mlp, modulated)
        self.double_blocks = nn.ModuleList(DoubleStreamBlock(*sizes) for _ in range(doubles))
        self.single_blocks = nn.ModuleList(SingleStreamBlock(*sizes) for _ in range(singles))
        self.final_layer = FinalLayer(width, patch, modulated)

    def doubles(self) -> list[DoubleStreamBlock]:
        """The double blocks, in order."""
        return [block for block in self.double_blocks if isinstance(block, DoubleStreamBlock)]

    def singles(self) -> list[SingleStreamBlock]:
        """The single blocks, in order."""
        return [block for block in self.single_blocks if isinstance(block, SingleStreamBlock)]

    def flow(
        self,
        x: Tensor,
        context: Tensor,
        doubles: Iterable[tuple[Modulation, Modulation]],
        singles: Iterable[Modulation],
        final: Modulation,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The flow, [batch, channels, height, width].

        Args:
            x: noisy latents of that shape, sides in multiples of 2.
            context: [batch, tokens, context].
            doubles: for each double block, of the image and of the text.
            singles: for each single block.
            final: of the last layer.
            mask: bool [batch, tokens], the tokens of the text that are attended to; None for all.
        """
        batch, channels, height, width = x.shape
        rows, columns = height // PATCH, width // PATCH
        rotation = self._rotation(context.shape[1], rows, columns, x.device)
        image, text = self.img_in(_to_patches(x)), self.txt_in(context)
        if mask is not None:
            mask = F.pad(mask, (0, rows * columns), value=True)[:, None, None]
        for block, (image_modulation, text_modulation) in zip(self.double_blocks, doubles, strict=True):
            image, text = block(image, text, image_modulation, text_modulation, rotation, mask)
        stream = torch.cat([text, image], dim=1)
        for block, modulation in zip(self.single_blocks, singles, strict=True):
            stream = block(stream, modulation, rotation, mask)
        patches = self.final_layer(stream[:, text.shape[1] :], final)
        patches = patches.view(batch, rows, columns, channels, PATCH, PATCH)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)

    def _rotation(self, text_tokens: int, rows: int, columns: int, device: torch.device) -> Tensor:
        """See :func:`_rotation`; kept, as computing it in float64 on the CPU would make the device wait."""
        key = (text_tokens, rows, columns, device)
        if key not in self._rotations:
            self._rotations[key] = _rotation(text_tokens, rows, columns, self._head_channels).to(device)
        return self._rotations[key]


class DoubleStreamBlock(nn.Module):
    """Image and text with weights of their own, and one attention over both."""

    def __init__(self, width: int, head_channels: int, mlp: int, modulated: bool) -> None:
        super().__init__()
        if modulated:
            self.img_mod, self.txt_mod = Modulator(width, 6), Modulator(width, 6)
        self.img_attn, self.txt_attn = _Attention(width, head_channels), _Attention(width, head_channels)
        self.img_mlp, self.txt_mlp = _mlp(width, mlp), _mlp(width, mlp)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        image_modulation: Modulation,
        text_modulation: Modulation,
        rotation: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Image and text [batch, tokens, width]."""
        heads = zip(
            self.txt_attn.heads(_modulated(text, *text_modulation[:2])),
            self.img_attn.heads(_modulated(image, *image_modulation[:2])),
            strict=True,
        )
        query, key, value = (torch.cat(pair, dim=2) for pair in heads)
        attended = _attend(query, key, value, rotation, mask)
        text_part, image_part = attended.split([text.shape[1], image.shape[1]], dim=1)
        image = image + image_modulation[2] * self.img_attn.proj(image_part)
        text = text + text_modulation[2] * self.txt_attn.proj(text_part)
        return (
            _fed_forward(image, self.img_mlp, image_modulation[3:]),
            _fed_forward(text, self.txt_mlp, text_modulation[3:]),
        )


class SingleStreamBlock(nn.Module):
    """Text and image as one sequence; attention and feed-forward layer side by side."""

    def __init__(self, width: int, head_channels: int, mlp: int, modulated: bool) -> None:
        super().__init__()
        if modulated:
            self.modulation = Modulator(width, 3)
        self.linear1 = nn.Linear(width, 3 * width + mlp)
        self.linear2 = nn.Linear(width + mlp, width)
        self.norm = _HeadNorms(head_channels)
        self._parts = (3 * width, mlp)
        self._head_channels = head_channels

    def forward(self, x: Tensor, modulation: Modulation, rotation: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, tokens, width]."""
        shift, scale, gate = modulation
        projected, hidden = self.linear1(_modulated(x, shift, scale)).split(self._parts, dim=-1)
        attended = _attend(*_split_heads(projected, self._head_channels, self.norm), rotation, mask)
        return x + gate * self.linear2(torch.cat([attended, F.gelu(hidden, approximate="tanh")], dim=-1))


class FinalLayer(nn.Module):
    """From the width of the blocks to patches."""

    def __init__(self, width: int, patch: int, modulated: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, patch)
        if modulated:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """[batch, tokens, patch]."""
        return self.linear(_modulated(x, *modulation))


class Embedder(nn.Module):
    """Two layers from an embedding to the width of the blocks."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(inputs, width)
        self.out_layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, width]."""
        return self.out_layer(F.silu(self.in_layer(x)))


class Modulator(nn.Module):
    """Gives a block its modulation."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, count * width)
        self._count = count

    def forward(self, vector: Tensor) -> Modulation:
        """From [batch, width]."""
        return self.lin(F.silu(vector))[:, None].chunk(self._count, dim=-1)


class Norm(nn.Module):
    """Root mean square norm of the last dimension, computed in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shaped like ``x``."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON)).to(x.dtype) * self.scale


class _HeadNorms(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_norm = Norm(channels)
        self.key_norm = Norm(channels)


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


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=_EPSILON) + shift


def _fed_forward(x: Tensor, mlp: nn.Module, modulation: Modulation) -> Tensor:
    shift, scale, gate = modulation
    return x + gate * mlp(_modulated(x, shift, scale))


def _split_heads(projected: Tensor, head_channels: int, norms: _HeadNorms) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = projected.unflatten(-1, (3, -1, head_channels)).permute(2, 0, 3, 1, 4)
    return norms.query_norm(query), norms.key_norm(key), value


def _attend(query: Tensor, key: Tensor, value: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
    """[batch, tokens, width]."""
    query, key = _rotated(query, rotation), _rotated(key, rotation)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attended.transpose(1, 2).flatten(2)


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Pairs of channels turned by the angles of their tokens (rotary embedding, arXiv 2104.09864), in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = rotation
    return torch.stack([cosine * even - sine * odd, sine * even + cosine * odd], dim=-1).flatten(-2).to(x.dtype)


def _rotation(text_tokens: int, rows: int, columns: int, head_channels: int) -> Tensor:
    """Cosines and sines of all tokens, text first: float32 [2, tokens, channels of a head / 2]."""
    grid = torch.zeros(text_tokens + rows * columns, 3, dtype=torch.float64)
    grid[text_tokens:, 1] = torch.arange(rows).repeat_interleave(columns)
    grid[text_tokens:, 2] = torch.arange(columns).repeat(rows)
    angles = []
    for axis, channels in enumerate(axes(head_channels)):
        speeds = _ROTARY_BASE ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles.append(grid[:, axis, None] * speeds)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()]).float()


def sinusoids(value: Tensor, channels: int) -> Tensor:
    """Embedding of numbers [batch] such as timesteps in 0 to 1, float32 [batch, channels]: cosines, then sines."""
    half = channels // 2
    speeds = torch.exp(-math.log(_ROTARY_BASE) * torch.arange(half, device=value.device) / half)
    angle = _TIME_SCALE * value.float()[:, None] * speeds
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def _to_patches(x: Tensor) -> Tensor:
    """[batch, channels, height, width] -> [batch, patches, 4 channels]."""
    batch, channels, height, width = x.shape
    patches = x.view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * PATCH**2)


def axes(head_channels: int) -> list[int]:
    """How many channels of a head turn with a token's index, row and column."""
    return [head_channels * share // 16 for share in _AXES]
