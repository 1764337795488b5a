"""Weights of Forge and Neo made ready for gradients: inference tensors replaced, in-place blocks made out of place.

Importable without either: it knows only modules and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: makes the forward of a block from the block and the forward that it has
Forwards = Mapping[str, Callable[[Any, Callable[..., Any]], Callable[..., Any]]]
_GRADIENTS = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


@contextmanager
def ordinary(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Every parameter and buffer below ``roots`` is an ordinary frozen tensor over the same memory.

    What is loaded under ``torch.inference_mode`` cannot be saved for a backward pass. No byte is copied; afterwards
    the very tensors from before are in place. Quantised tensors, which have classes of their own, stay as they are:
    a text encoder that does not learn needs no gradient.
    """
    stand_ins: dict[int, Tensor] = {}
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    for root in roots:
        for module in root.modules():
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is not None and type(tensor) in (Tensor, nn.Parameter):
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
def out_of_place(network: nn.Module, forwards: Forwards) -> Iterator[None]:
    """The blocks of the classes that ``forwards`` names are computed by the forwards that it makes.

    Without gradients they run as they are, with all that the WebUI may have hooked into them.
    """
    patch_blocks(network, forwards)
    try:
        yield
    finally:
        for block, _ in _blocks(network, forwards):
            vars(block).pop("forward", None)


def patch_blocks(network: nn.Module, forwards: Forwards) -> None:
    """As :func:`out_of_place`, permanently."""
    for block, forward in _blocks(network, forwards):
        block.forward = forward(block, block.forward)


def _blocks(network: nn.Module, forwards: Forwards) -> list[tuple[nn.Module, Callable[..., Any]]]:
    kinds = ((module, forwards.get(type(module).__name__)) for module in network.modules())
    return [(module, forward) for module, forward in kinds if forward is not None]


def transformer_forward(block: Any, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A transformer block of the UNet that adds to a new tensor, not to the one that its norms must remember."""

    def forward(x: Tensor, context: Tensor | None = None, transformer_options: dict[str, Any] | None = None) -> Tensor:
        if not torch.is_grad_enabled():
            return original(x, context=context, transformer_options=transformer_options or {})
        x = x + block.attn1(block.norm1(x), context=context if block.disable_self_attn else None)
        x = x + block.attn2(block.norm2(x), context=context)
        return x + block.ff(block.norm3(x))

    return forward


#: for the UNets of Stable Diffusion
UNET: dict[str, Callable[[Any, Callable[..., Any]], Callable[..., Any]]] = {
    "BasicTransformerBlock": transformer_forward
}


def double_stream_forward(
    block: Any, original: Callable[..., Any], attend: Callable[..., Tensor]
) -> Callable[..., Any]:
    """A double block of Neo's Flux that adds to new tensors; ``attend`` is the ``attention`` of its module."""

    def forward(
        img: Tensor, txt: Tensor, vec: Any, pe: Tensor, attn_mask: Tensor | None = None, transformer_options: Any = None
    ) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return original(img, txt, vec, pe, attn_mask, transformer_options=transformer_options or {})
        images, texts = (block.img_mod(vec), block.txt_mod(vec)) if block.modulation else vec
        heads = [
            _heads(attention.qkv(_modulated(norm(x), first)), attention.norm, block.num_heads)
            for attention, norm, x, (first, _) in (
                (block.txt_attn, block.txt_norm1, txt, texts),
                (block.img_attn, block.img_norm1, img, images),
            )
        ]
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(*heads, strict=True))
        attended = attend(query, key, value, pe=pe, mask=attn_mask, transformer_options=transformer_options or {})
        of_text, of_image = attended.split([txt.shape[1], img.shape[1]], dim=1)
        img = img + block.img_attn.proj(of_image) * images[0].gate
        img = img + block.img_mlp(_modulated(block.img_norm2(img), images[1])) * images[1].gate
        txt = txt + block.txt_attn.proj(of_text) * texts[0].gate
        txt = txt + block.txt_mlp(_modulated(block.txt_norm2(txt), texts[1])) * texts[1].gate
        return img, _finite(txt)

    return forward


def single_stream_forward(
    block: Any, original: Callable[..., Tensor], attend: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """A single block of Neo's Flux that adds to a new tensor; ``attend`` is the ``attention`` of its module."""

    def forward(
        x: Tensor, vec: Any, pe: Tensor, attn_mask: Tensor | None = None, transformer_options: Any = None
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return original(x, vec, pe, attn_mask, transformer_options=transformer_options or {})
        modulation = block.modulation(vec)[0] if block.modulation else vec
        joined = block.linear1(_modulated(block.pre_norm(x), modulation))
        heads, hidden = joined.split([3 * block.hidden_size, block.mlp_hidden_dim_first], dim=-1)
        query, key, value = _heads(heads, block.norm, block.num_heads)
        attended = attend(query, key, value, pe=pe, mask=attn_mask, transformer_options=transformer_options or {})
        output = block.linear2(torch.cat((attended, block.mlp_act(hidden)), dim=2))
        return _finite(x + output * modulation.gate)

    return forward


def apply_rope(query: Tensor, key: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary position embeddings (arXiv 2104.09864) of both [batch, heads, tokens, width], with a backward pass.

    ``rotations``: float32 [batch, 1, tokens, width / 2, 2, 2], a matrix for each pair of numbers.
    """

    def rotated(x: Tensor) -> Tensor:
        pairs = x.to(rotations.dtype).unflatten(-1, (-1, 1, 2))
        return torch.addcmul(rotations[..., 0] * pairs[..., 0], rotations[..., 1], pairs[..., 1]).flatten(-2).type_as(x)

    return rotated(query), rotated(key)


def obstacle(module: nn.Module) -> str | None:
    """Why no gradient goes through a layer of Neo's, as a sentence's end; None where it does."""
    kind = type(module)
    if hasattr(module, "_orig_mod"):
        return "is compiled by torch.compile, which is made for drawing; switch that off and load it again"
    if "Linear" not in kind.__name__:
        return None
    if "FP8" in kind.__qualname__:
        return "is computed in fp8, through which no gradient goes; start the WebUI without --fast-fp8"
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear) and type(weight) is nn.Parameter and weight.dtype in _GRADIENTS:
        return None
    return (
        f"has quantised weights ({_quantisation(module)}), through which no gradient goes; load a version of it in "
        "fp16, bf16 or fp8 without scales"
    )


def _quantisation(module: nn.Module) -> str:
    """What a user calls the format of a quantised Linear."""
    names = f"{type(module).__qualname__} {type(module).__module__}".lower()
    if "svdq" in names or "awq" in names or "nunchaku" in names:
        return "Nunchaku's int4"
    if "gguf" in names:
        return "GGUF"
    if "bnb" in names:
        return "bitsandbytes' nf4 or fp4"
    return "ComfyUI's scaled fp8, nvfp4 or int8"


def _modulated(x: Tensor, modulation: Any) -> Tensor:
    return torch.addcmul(modulation.shift, x, 1 + modulation.scale)


def _heads(joined: Tensor, norm: nn.Module, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value [batch, heads, tokens, width] of a joined Linear's output; the first two are normed."""
    query, key, value = joined.unflatten(-1, (3, count, -1)).permute(2, 0, 3, 1, 4)
    return *norm(query, key, value), value


def _finite(x: Tensor) -> Tensor:
    """Numbers too large for fp16 become its largest."""
    if x.dtype != torch.float16:
        return x
    largest = torch.finfo(torch.float16).max
    return torch.nan_to_num(x, nan=0.0, posinf=largest, neginf=-largest)
