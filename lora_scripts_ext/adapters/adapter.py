"""An adapter on a frozen model: its weights in one flat buffer, and how it is attached and detached.

What the weights mean is up to its method (``methods/``).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ..contract import Target
from ..errors import UserError
from ..models.layer import autocast_dtype, bias, is_replaced, overriding, plain_weight, row_scale
from ..models.layer_names import UNetLayout
from . import dropout
from .dropout import Dropout
from .lora_weights import LoraLayer, LoraWeights
from .methods.lora import Lora
from .methods.method import FastForward, Frozen, Matrices, Method, Shapes
from .origin import base_model_kind
from .targets import smallest_set

Group = Literal["unet", "text"]


@dataclass(frozen=True)
class _Layer:
    """One target with its views into the buffers: ``master`` float32, ``compute`` in the adapter's dtype.

    ``dropout_seed`` is the layer's part in the seed of its dropout masks.
    """

    target: Target
    dropout_seed: int
    master: Matrices
    compute: Matrices

    def matrices(self, dtype: torch.dtype) -> Matrices:
        for matrices in (self.compute, self.master):
            if matrices.weights[0].dtype == dtype:
                return matrices
        return Matrices(tuple(weight.to(dtype) for weight in self.master.weights), self.master.grads)


class Adapter:
    """Weights of one method, LoRA, for a list of targets, scaled by alpha / rank.

    All weights lie in one flat float32 buffer, UNet first, then text encoders, by kohya key within each; so do the
    gradients. The per-matrix and per-group parameters are views, whose ``.grad`` are views too: an optimizer may take
    any of them, but must never set ``.grad`` to None (use :meth:`zero_grad`).

    Attributes:
        weights: float32 [size], all weights.
        gradients: float32 [size], all gradients: ``weights.grad``.
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
        method: Method[LoraLayer] | None = None,
    ) -> None:
        """Start as the method does, with no effect.

        Args:
            targets: frozen layers, in any order: neither weights nor their order in the buffer depend on it.
            rank: R, of every layer.
            alpha: scale is alpha / rank; None takes the rank.
            dropout: probability with which an input of a layer's adapter is dropped within :meth:`dropping`.
            seed: of the starting weights, which are the same on every device.
            device: of the weights; the same as that of the activations.
            dtype: of the activations; :meth:`refresh` keeps a copy of the weights in it.
            method: what adapts a layer; None takes LoRA.
        """
        self._method = method or Lora()
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.dropout = dropout
        self.strength = 1.0
        self._suspended = False
        self._dropout: Dropout | None = None
        targets = sorted(targets, key=lambda target: (target.part != "unet", target.key))
        shapes = [self._method.shapes(target, rank) for target in targets]
        sizes = [_size(one) for one in shapes]
        self._text_start = sum(size for size, target in zip(sizes, targets, strict=True) if target.part == "unet")
        start = torch.cat([self._start(*one, seed) for one in zip(targets, shapes, strict=True)])
        self.weights = nn.Parameter(start.to(device))
        self.gradients = torch.zeros_like(start, device=device)
        self.weights.grad = self.gradients
        self._compute = self.weights.detach() if dtype == torch.float32 else self.weights.detach().to(dtype)
        self._layers = self._make_layers(targets, shapes)
        self._groups = self._make_groups()
        self._tensors = self._make_tensors()

    def keys(self) -> list[str]:
        """The targets' kohya keys, in the order of the buffer."""
        return [layer.target.key for layer in self._layers]

    def frozen_targets(self, targets: Iterable[Target]) -> list[Target]:
        """Those of the UNet's ``targets`` that have no adapter."""
        own = set(self.keys())
        return [target for target in targets if target.part == "unet" and target.key not in own]

    def groups(self) -> dict[Group, nn.Parameter]:
        """The flat weights of the UNet, and of the text encoders where they are trained: views, float32, 1-D."""
        return dict(self._groups)

    def tensors(self) -> dict[Group, list[nn.Parameter]]:
        """Every matrix by itself, for optimizers that work on rows and columns: views, float32, 2-D (a convolution's
        ``down`` is [rank, inputs · height · width])."""
        return {group: list(tensors) for group, tensors in self._tensors.items()}

    def zero_grad(self) -> None:
        """Set all gradients to zero, in place."""
        self.gradients.zero_()

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the weights to the compute dtype: to be called after every change of them, such as an optimizer step."""
        if self._compute.dtype != torch.float32:
            self._compute.copy_(self.weights)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Attach the adapter to the targets' modules; on leaving the context, by whatever way, they are as before."""
        with ExitStack() as stack:
            for layer in self._layers:
                stack.enter_context(overriding(layer.target.module, self._make_forward(layer)))
            yield

    def changes(self) -> Iterator[tuple[Target, Callable[[Tensor], Tensor]]]:
        """What the adapter adds to the output of each target, as a function of the target's input, without dropout."""
        for layer in self._layers:
            yield layer.target, partial(self._change, layer)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Within this context an attached adapter calls the modules' previous forwards and has no effect."""
        self._suspended = True
        try:
            yield
        finally:
            self._suspended = False

    @contextmanager
    def dropping(self, seeds: Sequence[int]) -> Iterator[None]:
        """Apply dropout within this context, which has to include the backward pass.

        ``seeds`` holds one of 63 bits for every example of the batch: the mask of an example is the same in any batch.
        """
        self._dropout = Dropout(self.dropout, seeds, self.weights.device) if self.dropout else None
        try:
            yield
        finally:
            self._dropout = None

    def layers(self) -> dict[str, LoraLayer]:
        """The weights as kohya files hold them, by key: views of the buffer, 4-D for convolutions."""
        return {layer.target.key: self._method.to_file(layer.master.weights, self.alpha) for layer in self._layers}

    @torch.no_grad()
    def load(self, weights: LoraWeights) -> None:
        """Continue from a file: same effect, whatever its alpha; layers that it lacks stay as they are.

        Where its rank is smaller, the further rows have no effect at first.

        Raises:
            UserError: the file has a larger rank, layers that are not trained here, or is for another kind of model.
        """
        layers = self._by_any_key()
        self._check(weights, layers)
        for key, layer in weights.layers.items():
            self._method.from_file(layer, layers[key].master.weights, self.alpha / self.rank)
        self.refresh()

    def _check(self, weights: LoraWeights, layers: dict[str, _Layer]) -> None:
        rank = max(layer.rank for layer in weights.layers.values())
        if rank > self.rank:
            raise UserError(f"{weights.path}: its rank is {rank}, lora_rank is {self.rank}; set lora_rank: {rank}.")
        unknown = [key for key in weights.layers if key not in layers]
        unet = [key for key in weights.layers if not key.startswith("lora_te")]
        known = {key: layer for key, layer in weights.layers.items() if key in layers}
        misfits = [key for key, layer in known.items() if not self._method.fits(layer, layers[key].master.weights)]
        if unet and not any(key in layers for key in unet):
            misfits = unet
        if misfits:
            raise UserError(self._misfit(weights, misfits[0]))
        if unknown:
            raise UserError(
                f"{weights.path}: {len(unknown)} of its {len(weights.layers)} layers are not trained here "
                f"(the first is {unknown[0]}); {self._remedy(unknown)}."
            )

    def _misfit(self, weights: LoraWeights, key: str) -> str:
        kind = base_model_kind(weights.layers)
        if kind and kind == base_model_kind(self.layers()):
            return (
                f"{weights.path}: this LoRA is for {kind}, as the base model is, but its layer {key} is not found "
                "there; choose a file with kohya's names, trained on this model."
            )
        return (
            f"{weights.path}: this LoRA was trained on {f'{kind}, ' if kind else ''}another kind of base model (its "
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
        """Layers by kohya key, and by the keys that their paths would give: diffusers' (files of diffusers), and
        the original ones (ComfyUI and ai-toolkit)."""
        by_path = {f"lora_{x.target.part}_{x.target.path.replace('.', '_')}": x for x in self._layers}
        unet = {x.target.path: x for x in self._layers if x.target.part == "unet"}
        layout = UNetLayout.of_paths(unet)
        originals = {path: layout.find_original(path) for path in unet} if layout else {}
        by_original = {f"lora_unet_{new.replace('.', '_')}": unet[path] for path, new in originals.items() if new}
        return by_original | by_path | {layer.target.key: layer for layer in self._layers}

    def _start(self, target: Target, shapes: Shapes, seed: int) -> Tensor:
        """Starting weights of a target, flat; the generator is seeded from the seed and the key only."""
        digest = hashlib.sha256(f"{seed}:{target.key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.cat([weight.flatten() for weight in self._method.start(shapes, generator)])

    def _make_layers(self, targets: Sequence[Target], shapes: Sequence[Shapes]) -> list[_Layer]:
        layers, start = [], 0
        for target, own in zip(targets, shapes, strict=True):
            flats = (self.weights.detach(), self._compute, self.gradients)
            master, compute, grads = (_views(flat[start:], own) for flat in flats)
            seed = dropout.layer_seed(target.key)
            layers.append(_Layer(target, seed, Matrices(master, grads), Matrices(compute, grads)))
            start += _size(own)
        return layers

    def _make_groups(self) -> dict[Group, nn.Parameter]:
        slices: dict[Group, slice] = {"unet": slice(0, self._text_start), "text": slice(self._text_start, None)}
        groups = {name: _parameter(self.weights.detach()[at], self.gradients[at]) for name, at in slices.items()}
        return {name: group for name, group in groups.items() if group.numel()}

    def _make_tensors(self) -> dict[Group, list[nn.Parameter]]:
        tensors: dict[Group, list[nn.Parameter]] = {name: [] for name in self._groups}
        for layer in self._layers:
            tensors["unet" if layer.target.part == "unet" else "text"] += [
                _parameter(weight.flatten(1), grad.flatten(1))
                for weight, grad in zip(layer.master.weights, layer.master.grads, strict=True)
            ]
        return tensors

    def _make_forward(self, layer: _Layer) -> Callable[[Tensor], Tensor]:
        module, original = layer.target.module, layer.target.module.forward
        replaced_before = is_replaced(module)
        fast = self._method.fast(layer.target)
        adapted = fast or self._make_reference(layer)

        def forward(x: Tensor) -> Tensor:
            if self._suspended or not self.strength:
                return original(x)
            scale, mask = self.strength * self.alpha / self.rank, None
            x = x.to(autocast_dtype(x.device.type) or x.dtype)
            weight = plain_weight(module, x) if fast and not replaced_before else None
            if weight is not None:
                frozen = Frozen(weight, bias(module), row_scale(module))
            else:
                output = original(x)
                frozen, x = Frozen(output=output), x.to(output.dtype)
            if self._dropout is not None:
                scale, mask = scale * self._dropout.scale, self._dropout.mask(x.shape, layer.dropout_seed)
            return adapted(x, frozen, layer.matrices(x.dtype), scale, self.weights, mask)

        return forward

    def _change(self, layer: _Layer, x: Tensor) -> Tensor:
        x = x.to(autocast_dtype(x.device.type) or x.dtype)
        scale, nothing = self.strength * self.alpha / self.rank, x.new_zeros(())
        return self._method.forward(layer.target, x, nothing, layer.matrices(x.dtype).weights, scale)

    def _make_reference(self, layer: _Layer) -> FastForward:
        """The method's ``forward`` where it has no fast path: autograd adds the gradients to their views."""
        leaves = [_parameter(*one) for one in zip(layer.master.weights, layer.master.grads, strict=True)]

        def forward(
            x: Tensor, frozen: Frozen, matrices: Matrices, scale: float, leaf: Tensor, mask: Tensor | None
        ) -> Tensor:
            assert frozen.output is not None, "only a fast path takes the weight in its place"
            visible = x if mask is None else x * mask.to(x.dtype)
            weights = [weight.to(x.dtype) for weight in leaves]
            return self._method.forward(layer.target, visible, frozen.output, weights, scale)

        return forward


def _parameter(view: Tensor, grad: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(view)
    parameter.grad = grad
    return parameter


def _size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _views(flat: Tensor, shapes: Shapes) -> tuple[Tensor, ...]:
    """The first numbers of ``flat`` in these shapes, one behind the other."""
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    starts = [0, *ends[:-1]]
    return tuple(flat[start:end].view(shape) for start, end, shape in zip(starts, ends, shapes, strict=True))
