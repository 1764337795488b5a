"""open_clip's text tower, run so that every projection in it is a layer of its own, named as transformers names it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OpenClipText(nn.Module):
    """An open_clip text tower in the shape of transformers' ``CLIPTextModelWithProjection``.

    open_clip stacks query, key and value in one ``nn.MultiheadAttention``, which never calls the modules inside. Here
    they are Linears over views of the same weights: nothing is copied, an adapter can attach to each, and the maths is
    the tower's own. Must be created again when the tower has moved to another device.
    """

    def __init__(self, tower: nn.Module, unused_layers: int = 0) -> None:
        """Look at a tower from here on.

        Args:
            tower: open_clip's ``CLIP``; its visual part is not needed.
            unused_layers: last layers to leave out; SD2 does not use the last one.
        """
        super().__init__()
        self.text_model = _TextModel(tower, unused_layers)
        if isinstance(tower.text_projection, Tensor):
            self.text_projection = _Projection(tower.text_projection)


class _Projection(nn.Module):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self._matrix = matrix

    def forward(self, end_states: Tensor) -> Tensor:
        """[count, width] -> [count, projection]."""
        return end_states @ self._matrix


class _TextModel(nn.Module):
    def __init__(self, tower: nn.Module, unused_layers: int) -> None:
        super().__init__()
        blocks = list(tower.get_submodule("transformer.resblocks").children())
        self.encoder = _Encoder(blocks[: len(blocks) - unused_layers])
        self.final_layer_norm = tower.get_submodule("ln_final")
        # In a tuple, so that the tower's own modules are not found a second time below this one.
        self._embeddings = (tower.get_submodule("token_embedding"), tower.positional_embedding)

    def forward(self, input_ids: Tensor, output_hidden_states: bool = True) -> SimpleNamespace:
        """``hidden_states``: before the first layer and after each, [count, 77, width]; ``last_hidden_state``: the last
        of them through the final norm."""
        tokens, positions = self._embeddings
        states = [tokens(input_ids) + positions]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        return SimpleNamespace(hidden_states=states, last_hidden_state=self.final_layer_norm(states[-1]))


class _Encoder(nn.Module):
    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(block) for block in blocks)


class _Layer(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = block.get_submodule("ln_1"), block.get_submodule("ln_2")
        self.self_attn = _Attention(block.get_submodule("attn"))
        self.mlp = _Mlp(block.get_submodule("mlp"))

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.self_attn(self.layer_norm1(states))
        return states + self.mlp(self.layer_norm2(states))


class _Mlp(nn.Module):
    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = mlp.get_submodule("c_fc"), mlp.get_submodule("c_proj")
        self.activation = mlp.get_submodule("gelu")

    def forward(self, states: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(states)))


class _Attention(nn.Module):
    def __init__(self, stacked: nn.Module) -> None:
        super().__init__()
        if not isinstance(stacked, nn.MultiheadAttention):
            raise TypeError(f"{type(stacked).__name__} is no nn.MultiheadAttention")
        self._heads = stacked.num_heads
        parts = zip(stacked.in_proj_weight.chunk(3), stacked.in_proj_bias.chunk(3), strict=True)
        self.q_proj, self.k_proj, self.v_proj = (_linear(weight, bias) for weight, bias in parts)
        self.out_proj = stacked.out_proj

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = (self._split(project(states)) for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        """[count, 77, width] -> [count, heads, 77, width / heads]."""
        return states.unflatten(-1, (self._heads, -1)).transpose(1, 2)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A frozen Linear over weights that exist already."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer
