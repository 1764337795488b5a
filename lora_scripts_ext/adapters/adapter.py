"""A LoRA on a frozen model: its weights in one flat buffer, and how it is put on and taken off."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..contract import Target
from ..errors import UserError
from ..models.layer import autocast_dtype, is_plain, is_replaced, overriding, row_scale
from ..models.layer_names import UNetLayout
from . import dropout, functional
from .dropout import Dropout
from .functional import Frozen, Matrices
from .lora_weights import LoraLayer, LoraWeights
from .origin import made_for
from .products import Geometry
from .targets import smallest_set

Group = Literal["unet", "text"]


@dataclass(frozen=True)
class _Layer:
    """One target with its views into the buffers: ``master`` float32, ``compute`` in the adapter's dtype.

    ``number`` stands for its key where dropout is drawn.
    """

    target: Target
    number: int
    master: Matrices
    compute: Matrices

    def matrices(self, dtype: torch.dtype) -> Matrices:
        for matrices in (self.compute, self.master):
            if matrices.down.dtype == dtype:
                return matrices
        master = self.master
        return Matrices(master.down.to(dtype), master.up.to(dtype), master.down_grad, master.up_grad)


class Adapter:
    """LoRA weights for a list of targets: ``W' = W + (alpha / rank) · up · down``.

    All weights lie in one flat float32 buffer, UNet first, then text encoders, by kohya key within each; so do the
    gradients. The per-matrix and per-group parameters are views, whose ``.grad`` are views too: an optimizer may take
    any of them, but must never set ``.grad`` to None (use :meth:`zero_grad`).

    Attributes:
        weights: float32 [size], all weights; ``weights.grad`` holds all gradients.
        strength: multiplies the adapter's effect; 1 while training.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        rank: int,
        alpha: float | None = None,
        *,
        dropout: float = 0.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Start at zero effect: ``down`` Kaiming-uniform, ``up`` zero.

        Args:
            targets: frozen layers, in any order: neither weights nor their order in the buffer depend on it.
            rank: R, of every layer.
            alpha: scale is alpha / rank; None takes the rank.
            dropout: share of a layer's adapter input that is dropped within :meth:`dropping`.
            seed: of the starting weights, which are the same on every device.
            device: where the weights live; that of the activations.
            dtype: what the activations are computed in; :meth:`refresh` keeps a copy of the weights in it.
        """
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.dropout = dropout
        self.strength = 1.0
        self._suspended = False
        self._dropout: Dropout | None = None
        targets = sorted(targets, key=lambda target: (target.part != "unet", target.key))
        self._text_start = sum(_size(target, rank) for target in targets if target.part == "unet")
        start = torch.cat([_start(target, rank, seed) for target in targets])
        self.weights = nn.Parameter(start.to(device))
        self.weights.grad = torch.zeros_like(start, device=device)
        self._compute = self.weights.detach() if dtype == torch.float32 else self.weights.detach().to(dtype)
        self._layers = self._make_layers(targets)
        self._groups = self._make_groups()
        self._tensors = self._make_tensors()

    def keys(self) -> list[str]:
        """The targets' kohya keys, in the order of the buffer."""
        return [layer.target.key for layer in self._layers]

    def others(self, targets: Iterable[Target]) -> list[Target]:
        """Those of the UNet's ``targets`` that this adapter is not on."""
        own = set(self.keys())
        return [target for target in targets if target.part == "unet" and target.key not in own]

    def groups(self) -> dict[Group, nn.Parameter]:
        """The flat weights of the UNet, and of the text encoders where they learn: views, float32, 1-D."""
        return dict(self._groups)

    def tensors(self) -> dict[Group, list[nn.Parameter]]:
        """Every matrix by itself, for optimizers that look at rows and columns: views, float32, 2-D (a convolution's
        ``down`` is [rank, inputs · height · width])."""
        return {group: list(tensors) for group, tensors in self._tensors.items()}

    def zero_grad(self) -> None:
        """Set all gradients to zero, in place."""
        self.weights.grad.zero_()

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the weights to the compute dtype: to be called after every change of them (an optimizer step)."""
        if self._compute.dtype != torch.float32:
            self._compute.copy_(self.weights)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The adapter acts on the targets' modules within this context; they are as before on every way out."""
        with ExitStack() as stack:
            for layer in self._layers:
                stack.enter_context(overriding(layer.target.module, self._make_forward(layer)))
            yield

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Within this context an attached adapter lets every call through to what it found there, untouched."""
        self._suspended = True
        try:
            yield
        finally:
            self._suspended = False

    @contextmanager
    def dropping(self, seeds: Sequence[int]) -> Iterator[None]:
        """Within this context inputs are dropped; to be left when the backward pass is done.

        ``seeds`` holds one for every example of the batch that is computed, 63 bits: what is dropped of an example is
        the same whatever else is in its batch.
        """
        self._dropout = Dropout(self.dropout, seeds, self.weights.device) if self.dropout else None
        try:
            yield
        finally:
            self._dropout = None

    def layers(self) -> dict[str, LoraLayer]:
        """The weights as kohya files hold them, by key: views of the buffer, 4-D for convolutions."""
        return {layer.target.key: self._as_file(layer) for layer in self._layers}

    @torch.no_grad()
    def load(self, weights: LoraWeights) -> None:
        """Continue from a file: same effect, whatever its alpha; layers that it lacks stay as they are.

        A smaller rank is filled up: the further rows of ``down`` stay as they are, their columns of ``up`` are zero.

        Raises:
            UserError: the file has a larger rank, layers that do not learn here, or is of another kind of model.
        """
        layers = self._by_any_key()
        self._check(weights, layers)
        for key, given in weights.layers.items():
            master, rank = layers[key].master, given.rank
            ratio = (given.alpha / rank) / (self.alpha / self.rank)
            master.down.flatten(1)[:rank] = given.down.flatten(1)
            master.up[:, :rank] = given.up.flatten(1).to(master.up) * ratio
            master.up[:, rank:] = 0
        self.refresh()

    def _check(self, weights: LoraWeights, layers: dict[str, _Layer]) -> None:
        rank = max(given.rank for given in weights.layers.values())
        if rank > self.rank:
            raise UserError(f"{weights.path}: its rank is {rank}, lora_rank is {self.rank}; set lora_rank: {rank}.")
        unknown = [key for key in weights.layers if key not in layers]
        unet = [key for key in weights.layers if not key.startswith("lora_te")]
        alien = [key for key, x in weights.layers.items() if key in layers and not _fits(x, layers[key].master)]
        if unet and not any(key in layers for key in unet):
            alien = unet
        if alien:
            raise UserError(self._misfit(weights, alien[0]))
        if unknown:
            raise UserError(
                f"{weights.path}: {len(unknown)} of its {len(weights.layers)} layers do not learn here "
                f"(the first is {unknown[0]}); {self._remedy(unknown)}."
            )

    def _misfit(self, weights: LoraWeights, key: str) -> str:
        kind = made_for(weights.layers)
        if kind and kind == made_for(self.layers()):
            return (
                f"{weights.path}: this LoRA is for {kind}, as the base model is, but its layer {key} is not found "
                "there; choose a file with kohya's names, made on this very model."
            )
        return (
            f"{weights.path}: this LoRA was made for {f'{kind}, ' if kind else ''}another kind of base model (its "
            f"layer {key} does not fit); choose the base model it was trained on, or another init_lora."
        )

    def _remedy(self, unknown: list[str]) -> str:
        if any(key.startswith("lora_te") for key in unknown) and "text" not in self._groups:
            return "set train_text_encoder: true"
        needed = smallest_set(key for key in unknown if key.startswith("lora_unet"))
        if needed != smallest_set(key for key in self.keys() if key.startswith("lora_unet")):
            return f"set target: {needed}"
        return "choose the base model it was trained on, or another init_lora"

    def _by_any_key(self) -> dict[str, _Layer]:
        """Layers by kohya key, and by the keys that their paths would give: diffusers' (files made with diffusers), and
        the original ones (ComfyUI and ai-toolkit)."""
        by_path = {f"lora_{x.target.part}_{x.target.path.replace('.', '_')}": x for x in self._layers}
        unet = {x.target.path: x for x in self._layers if x.target.part == "unet"}
        layout = UNetLayout.of_paths(unet)
        originals = {path: layout.find_original(path) for path in unet} if layout else {}
        by_original = {f"lora_unet_{new.replace('.', '_')}": unet[path] for path, new in originals.items() if new}
        return by_original | by_path | {layer.target.key: layer for layer in self._layers}

    def _as_file(self, layer: _Layer) -> LoraLayer:
        down, up = layer.master.down, layer.master.up
        return LoraLayer(down, up[:, :, None, None] if down.dim() == 4 else up, self.alpha)

    def _make_layers(self, targets: Sequence[Target]) -> list[_Layer]:
        layers, start = [], 0
        for target in targets:
            views = [_views(target, self.rank, flat[start:]) for flat in (self.weights.detach(), self.weights.grad)]
            compute = _views(target, self.rank, self._compute[start:])
            layers.append(
                _Layer(
                    target, dropout.number(target.key), Matrices(*views[0], *views[1]), Matrices(*compute, *views[1])
                )
            )
            start += _size(target, self.rank)
        return layers

    def _make_groups(self) -> dict[Group, nn.Parameter]:
        slices: dict[Group, slice] = {"unet": slice(0, self._text_start), "text": slice(self._text_start, None)}
        groups = {name: _parameter(self.weights.detach()[at], self.weights.grad[at]) for name, at in slices.items()}
        return {name: group for name, group in groups.items() if group.numel()}

    def _make_tensors(self) -> dict[Group, list[nn.Parameter]]:
        tensors: dict[Group, list[nn.Parameter]] = {name: [] for name in self._groups}
        for layer in self._layers:
            master = layer.master
            tensors["unet" if layer.target.part == "unet" else "text"] += [
                _parameter(master.down.flatten(1), master.down_grad.flatten(1)),
                _parameter(master.up, master.up_grad),
            ]
        return tensors

    def _make_forward(self, layer: _Layer) -> Callable[[Tensor], Tensor]:
        module, original = layer.target.module, layer.target.module.forward
        replaced_before = is_replaced(module)
        arguments = () if layer.target.kind == "linear" else (_geometry(module),)
        adapted = functional.linear if layer.target.kind == "linear" else functional.conv

        def forward(x: Tensor) -> Tensor:
            if self._suspended or not self.strength:
                return original(x)
            scale, kept = self.strength * self.alpha / self.rank, None
            x = x.to(autocast_dtype(x.device.type) or x.dtype)
            if not replaced_before and is_plain(module.weight, x):
                frozen = Frozen(module.weight, module.bias, row_scale(module))
            else:
                frozen = Frozen(output=original(x))
                x = x.to(frozen.output.dtype)
            if self._dropout is not None:
                scale, kept = scale * self._dropout.scale, self._dropout.kept(x.shape, layer.number)
            return adapted(x, frozen, layer.matrices(x.dtype), scale, self.weights, kept, *arguments)

        return forward


def _parameter(view: Tensor, grad: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(view)
    parameter.grad = grad
    return parameter


def _shapes(target: Target, rank: int) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shapes of ``down`` and ``up``."""
    module = target.module
    if target.kind == "linear":
        return (rank, module.in_features), (module.out_features, rank)
    return (rank, module.in_channels, *module.kernel_size), (module.out_channels, rank)


def _size(target: Target, rank: int) -> int:
    return sum(math.prod(shape) for shape in _shapes(target, rank))


def _views(target: Target, rank: int, flat: Tensor) -> tuple[Tensor, Tensor]:
    """``down`` and ``up`` of a target whose weights start ``flat``."""
    down, up = _shapes(target, rank)
    middle, end = math.prod(down), _size(target, rank)
    return flat[:middle].view(down), flat[middle:end].view(up)


def _start(target: Target, rank: int, seed: int) -> Tensor:
    """Starting weights of a target, flat: ``down`` as ``kaiming_uniform_(a=sqrt(5))``, ``up`` zero.

    That Kaiming bound is 1 / sqrt(inputs). The generator is seeded from the seed and the key alone.
    """
    down, up = _shapes(target, rank)
    digest = hashlib.sha256(f"{seed}:{target.key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    bound = 1 / math.sqrt(math.prod(down[1:]))
    return torch.cat(
        [torch.empty(math.prod(down)).uniform_(-bound, bound, generator=generator), torch.zeros(math.prod(up))]
    )


def _fits(given: LoraLayer, master: Matrices) -> bool:
    inputs, outputs = given.down.flatten(1).shape[1], given.up.shape[0]
    return inputs == master.down.flatten(1).shape[1] and outputs == master.up.shape[0]


def _geometry(module: nn.Conv2d) -> Geometry:
    return Geometry(module.stride, module.padding, module.dilation)
