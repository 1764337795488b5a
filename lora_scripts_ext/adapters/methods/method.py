"""The interface of a method: what the adapter has to know of the matrices that adapt a frozen layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ...contract import Target

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Matrices:
    """The weights of one adapted layer.

    Attributes:
        weights: in the dtype of the activations, in the shapes and order of ``Method.shapes``.
        grads: float32, shaped like ``weights``: their gradients are added to these.
    """

    weights: tuple[Tensor, ...]
    grads: tuple[Tensor, ...]


@dataclass(frozen=True)
class Frozen:
    """The layer that is adapted: its weights, in the dtype of the activations or 8 bits, or else its output.

    Attributes:
        weight: [O, I], or [O, I, height, width] for a convolution with one group.
        bias: [O].
        row_scale: [O, 1, ...], factors of the rows of an 8-bit weight.
        output: the layer's output for the same input; only read when ``weight`` is None.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    row_scale: Tensor | None = None
    output: Tensor | None = None


class FileLayer(Protocol):
    """One layer as kohya's files hold it."""

    @property
    def alpha(self) -> float:
        """Its scale is alpha / rank."""

    @property
    def rank(self) -> int:
        """Inner size of its matrices."""

    def tensors(self) -> dict[str, Tensor]:
        """The matrices by what follows the layer's key in their names, such as ``lora_down.weight``."""


Layer = TypeVar("Layer", bound=FileLayer)

#: (x, frozen, matrices, scale, leaf, mask) -> the output of the adapted layer. ``leaf`` is any leaf tensor that
#: requires grad: through it autograd records the call where ``x`` needs no gradient. ``mask``, uint8 shaped like
#: ``x``, is 0 where dropout hides the input from the adapter.
FastForward = Callable[[Tensor, Frozen, Matrices, float, Tensor, Tensor | None], Tensor]


class Method(ABC, Generic[Layer]):
    """A parameterisation of the change of a frozen Linear or Conv2d.

    A method has to state ``forward`` in plain torch; ``fast`` is optional.
    """

    @abstractmethod
    def shapes(self, target: Target, rank: int) -> Shapes:
        """Shapes of the matrices, in the order in which they lie in the adapter's buffer."""

    @abstractmethod
    def start(self, shapes: Shapes, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Initial matrices, float32 on the CPU, with no effect; all randomness is drawn from ``generator``."""

    @abstractmethod
    def forward(self, target: Target, x: Tensor, output: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        """The output of the adapted layer, in operations that autograd differentiates.

        Args:
            target: the frozen layer.
            x: input, [..., I] or [batch, I, height, width]; zero where dropout hides it from the adapter.
            output: what the frozen layer computes of the whole input, [..., O] or [batch, O, height', width'].
            weights: the matrices, in the dtype of ``x``.
            scale: factor of the change, alpha / rank among it.
        """

    def fast(self, target: Target) -> FastForward | None:
        """``forward`` fused with the frozen layer, with gradients of its own; None where ``forward`` is to be used."""
        return None

    @abstractmethod
    def to_file(self, weights: Sequence[Tensor], alpha: float) -> Layer:
        """The layer as kohya's files hold it: views of ``weights``."""

    @abstractmethod
    def fits(self, layer: Layer, weights: Sequence[Tensor]) -> bool:
        """Whether ``layer`` was trained on a frozen layer of these inputs and outputs, with whatever rank."""

    @abstractmethod
    def from_file(self, layer: Layer, weights: Sequence[Tensor], scale: float) -> None:
        """Set ``weights``, of the same rank or a larger one, in place to the effect of ``layer``.

        Args:
            layer: its own scale is alpha / rank.
            weights: float32, to be used with ``scale``.
            scale: alpha / rank of the adapter.
        """
