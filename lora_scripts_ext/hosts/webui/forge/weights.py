"""Forge's weights made ready for gradients: inference tensors replaced, in-place blocks made out of place.

Importable without Forge: it knows only modules and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def ordinary(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Every parameter and buffer below ``roots`` is an ordinary frozen tensor over the same memory.

    What is loaded under ``torch.inference_mode`` cannot be saved for a backward pass. No byte is copied; afterwards
    the very tensors from before are in place.
    """
    stand_ins: dict[int, Tensor] = {}
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    for root in roots:
        for module in root.modules():
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is not None:
                        replaced.append((held, name, tensor))
    try:
        for slots, name, tensor in replaced:
            # Some weights are known by two names.
            if id(tensor) not in stand_ins:
                stand_ins[id(tensor)] = _stand_in(tensor)
            slots[name] = stand_ins[id(tensor)]
        yield
    finally:
        for slots, name, tensor in reversed(replaced):
            slots[name] = tensor


def _stand_in(tensor: Tensor) -> Tensor:
    view = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
    )
    return nn.Parameter(view, requires_grad=False) if isinstance(tensor, nn.Parameter) else view


@contextmanager
def out_of_place(unet: nn.Module) -> Iterator[None]:
    """The transformer blocks of Forge's UNet add to a new tensor instead of the one that their norms must remember.

    Without gradients they run as they are, with all that Forge may have hooked into them.
    """
    patch_blocks(unet)
    try:
        yield
    finally:
        for block in _blocks(unet):
            vars(block).pop("forward", None)


def patch_blocks(unet: nn.Module) -> None:
    """As :func:`out_of_place`, permanently."""
    for block in _blocks(unet):
        block.forward = _block_forward(block, block.forward)


def _blocks(unet: nn.Module) -> list[nn.Module]:
    return [module for module in unet.modules() if type(module).__name__ == "BasicTransformerBlock"]


def _block_forward(block: Any, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(x: Tensor, context: Tensor | None = None, transformer_options: dict[str, Any] | None = None) -> Tensor:
        if not torch.is_grad_enabled():
            return original(x, context=context, transformer_options=transformer_options or {})
        x = x + block.attn1(block.norm1(x), context=context if block.disable_self_attn else None)
        x = x + block.attn2(block.norm2(x), context=context)
        return x + block.ff(block.norm3(x))

    return forward
