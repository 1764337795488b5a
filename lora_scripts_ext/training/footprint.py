"""The memory and operations of one forward and backward pass, found by running it on meta tensors."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ..adapters.adapter import Adapter
from ..config import Config
from ..models.layer import overriding
from .attach import attached

if TYPE_CHECKING:
    from ..contract import Inspection


# One thread at a time gives torch the name that it looks for.
_ALIAS = threading.Lock()


@dataclass(frozen=True)
class Footprint:
    """What a batch takes beside the weights, the adapter and its gradient.

    Attributes:
        kept_bytes: what autograd keeps between forward and backward.
        peak_bytes: the most that is alive at any time in the two.
        flops: floating-point operations of both, those of gradient checkpointing included.
    """

    kept_bytes: int
    peak_bytes: int
    flops: float


def measure(model: Inspection, adapter: Adapter, config: Config, batch: int, size: tuple[int, int]) -> Footprint:
    """The footprint of ``batch`` images of ``size`` (width, height) in pixels with ``adapter``, built for the model's
    targets on the meta device."""
    recomputed = config.gradient_checkpointing
    counted = _Counted(model.device)
    with ExitStack() as stack:
        for block in model.blocks() if recomputed else ():
            # What is computed a second time, in the backward pass, is outside of the mode.
            stack.enter_context(overriding(block, counted.within(block.forward)))
        stack.enter_context(attached(adapter, model.targets, model.blocks(), gradient_checkpointing=recomputed))
        stack.enter_context(adapter.dropping([0] * batch))
        stack.enter_context(_recomputing_on_meta())
        live = stack.enter_context(Live())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(live.keep, lambda tensor: tensor))
        with counted:
            loss = _loss(_predicted(model, config, batch, size))
        kept_bytes = live.now
        # Frozen weights get no gradient: the backward pass costs as much as the forward pass.
        flops: float = counted.flops * (3 if recomputed else 2)
        loss.backward()
        if config.holds_class:
            flops += flops + _hold_class(model, adapter, config, batch, size, counted)
    return Footprint(kept_bytes, live.most, flops)


def _hold_class(
    model: Inspection, adapter: Adapter, config: Config, batch: int, size: tuple[int, int], counted: _Counted
) -> float:
    """The passes of the class prompt; the operations of the base model's, which has no backward pass."""
    before = counted.flops
    with counted, torch.no_grad(), adapter.suspended():
        base = _predicted(model, config, batch, size)
    flops = counted.flops - before
    with counted:
        loss = _loss(_predicted(model, config, batch, size), base)
    loss.backward()
    return flops


def _predicted(model: Inspection, config: Config, batch: int, size: tuple[int, int]) -> Tensor:
    states = model.encode_text(batch) if config.train_text_encoder else ()
    return model.predict(batch, *size, states).float()


def _loss(prediction: Tensor, target: Tensor | None = None) -> Tensor:
    return F.mse_loss(prediction, torch.empty_like(prediction) if target is None else target)


class Live(TorchDispatchMode):
    """Counts the bytes of all storages allocated inside, from allocation until nothing refers to them.

    Attributes:
        now: bytes alive.
        most: the most there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._bytes: dict[int, int] = {}
        self._users: dict[int, int] = {}
        self._tensors: dict[int, weakref.ref[Tensor]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_flatten((args, kwargs))[0]:
            if isinstance(value, Tensor):
                self._note(value, allocated_here=False)
        output = function(*args, **(kwargs or {}))
        for value in tree_flatten(output)[0]:
            if isinstance(value, Tensor):
                self._note(value, allocated_here=True)
        return output

    def keep(self, tensor: Tensor) -> Tensor:
        """Autograd saves ``tensor``, perhaps as an object that no operation has returned."""
        self._note(tensor, allocated_here=True)
        return tensor

    def _note(self, tensor: Tensor, allocated_here: bool) -> None:
        tensor_id = id(tensor)
        if tensor_id in self._tensors:
            return
        # Not weak references to the storages: torch 2.1 drops those while the storage is still in use.
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._users:
            self._users[key] = 0
            self._bytes[key] = storage.nbytes() if allocated_here else 0
            self.now += self._bytes[key]
            self.most = max(self.most, self.now)
        self._users[key] += 1
        self._tensors[tensor_id] = weakref.ref(tensor, lambda _: self._dropped(tensor_id, key))

    def _dropped(self, tensor_id: int, key: int) -> None:
        del self._tensors[tensor_id]
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self.now -= self._bytes.pop(key)


class _Counted(TorchFunctionMode):
    """Counts the operations of matrix products and convolutions, and computes attention as the device would: fused,
    where it has such a kernel, else with all scores."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.flops = 0
        self._device = device
        self._active = False
        self._kept: dict[tuple[Any, ...], bool] = {}

    def __enter__(self) -> Any:
        self._active = True
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._active = False

    def within(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, which runs in this mode wherever it is called."""

        def inside(*args: Any, **kwargs: Any) -> Any:
            with nullcontext() if self._active else self:
                return function(*args, **kwargs)

        return inside

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        output = function(*args, **kwargs)
        if function in (F.linear, F.conv2d):
            self.flops += 2 * output.numel() * args[1][0].numel()
        return output

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.flops += 4 * query.numel() * key.shape[-2]
        mask = args[0] if args else kwargs.get("attn_mask")
        causal = bool(args[2] if len(args) > 2 else kwargs.get("is_causal"))
        if self._keeps_scores(query.dtype, query.shape[-1], mask is not None, causal):
            return torch.ops.aten._scaled_dot_product_attention_math(query, key, value, mask, 0.0, causal)[0]
        return _Fused.apply(query, key, value)

    def _keeps_scores(self, *kind: Any) -> bool:
        if kind not in self._kept:
            self._kept[kind] = keeps_scores(self._device, *kind)
        return self._kept[kind]


class _Fused(torch.autograd.Function):
    """What fused attention keeps: its three inputs and its output."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Shapes as ``scaled_dot_product_attention``'s; the values mean nothing."""
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients shaped like the inputs."""
        return tuple(torch.empty_like(tensor) for tensor in context.saved_tensors[:3])


def keeps_scores(device: torch.device, dtype: torch.dtype, width: int, masked: bool, causal: bool) -> bool:
    """Whether ``scaled_dot_product_attention`` with heads of this ``width`` keeps a score for every pair of positions.

    Found by running the kernel with a few positions: which one torch takes depends on its version, the device, the
    precision and the switches in ``torch.backends.cuda``.
    """
    shapes: set[tuple[int, ...]] = set()

    def keep(tensor: Tensor) -> Tensor:
        shapes.add(tuple(tensor.shape[-2:]))
        return tensor

    positions, others = 24, 24 if causal else 40
    if width in (positions, others):
        positions, others = positions + 8, others + 8
    query = torch.zeros(1, 1, positions, width, device=device, dtype=dtype, requires_grad=True)
    key = torch.zeros(1, 1, others, width, device=device, dtype=dtype)
    mask = torch.zeros(positions, others, device=device, dtype=dtype) if masked else None
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.scaled_dot_product_attention(query, key, key, attn_mask=mask, is_causal=causal)
    return (positions, others) in shapes or (others, positions) in shapes


@contextmanager
def _recomputing_on_meta() -> Iterator[None]:
    """``torch.utils.checkpoint`` takes meta tensors; before torch 2.4 it looks for a module of the device's name."""
    with _ALIAS:
        vars(torch)["meta"] = torch.cpu
        try:
            yield
        finally:
            del vars(torch)["meta"]
