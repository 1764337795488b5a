"""A loaded model on the meta device, on which a run can be estimated while the model itself is in use."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contract import TEXT_PARTS, Conditioning, Inspection, ModelInfo, Size
from ..families.registry import by_name
from .layer import features
from .targets import flux_targets, original_unet_targets, text_targets
from .text_states import TOKENS, text_states
from .tokenizer import FLUX_TOKENS

_BLOCKS = ("ResBlock", "BasicTransformerBlock", "DoubleStreamBlock", "SingleStreamBlock")


@dataclass(frozen=True)
class MetaInspection(Inspection):
    """A model on the meta device; see ``contract.Inspection``."""

    def encode_text(self, batch: int) -> list[Tensor]:
        """See ``contract.Inspection.encode_text``."""
        return [text_states(text, batch, self.dtype) for text in self.texts]

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, device="meta", dtype=self.dtype)


@dataclass(frozen=True)
class OriginalOutline(MetaInspection):
    """A loaded model in the original layout; see ``contract.Inspection``."""

    loaded = True

    def blocks(self) -> Iterator[nn.Module]:
        """As ``Session.blocks``."""
        return unet_blocks(self.unet)

    def _inputs(self, path: str) -> int:
        """Inputs of the Linear at this path of the UNet or transformer."""
        return features(self.unet.get_submodule(path))[0]


@dataclass(frozen=True)
class Outline(OriginalOutline):
    """A UNet in the original layout (``UNetModel`` of ldm and sgm) with its text encoders."""

    def conditioning(self, batch: int) -> Conditioning:
        """See ``contract.Inspection.conditioning``; sizes are part of ``pooled``, as the UNet takes them."""
        keys = next(name for name, _ in self.unet.named_modules() if name.endswith("attn2.to_k"))
        has_vector = by_name(self.family).has_time_ids
        vector = self._empty(batch, self._inputs("label_emb.0.0")) if has_vector else None
        return Conditioning(self._empty(batch, TOKENS, self._inputs(keys)), vector)

    def predict(self, batch: int, width: int, height: int, states: Sequence[Tensor] = ()) -> Tensor:
        """See ``contract.Inspection.predict``."""
        conditioning = self.conditioning(batch)
        # The weight of the first convolution is [outputs, channels, height, width].
        channels = self.unet.get_parameter("input_blocks.0.0.weight").shape[1]
        return self.unet(
            self._empty(batch, channels, height // self.vae_factor, width // self.vae_factor),
            torch.zeros(batch, dtype=torch.int64, device="meta"),
            context=torch.cat(list(states), -1) if states else conditioning.context,
            y=conditioning.pooled,
        )


@dataclass(frozen=True)
class FluxOutline(OriginalOutline):
    """A Flux transformer in the original layout."""

    def conditioning(self, batch: int) -> Conditioning:
        """See ``contract.Inspection.conditioning``."""
        context, pooled = self._inputs("txt_in"), self._inputs("vector_in.in_layer")
        return Conditioning(self._empty(batch, FLUX_TOKENS, context), self._empty(batch, pooled))

    def predict(self, batch: int, width: int, height: int, states: Sequence[Tensor] = ()) -> Tensor:
        """See ``contract.Inspection.predict``; its text encoders do not learn."""
        conditioning = self.conditioning(batch)
        # It takes patches of 2 x 2 latent cells.
        channels = self._inputs("img_in") // 4
        return self.unet(
            self._empty(batch, channels, height // self.vae_factor, width // self.vae_factor),
            torch.zeros(batch, device="meta"),
            context=conditioning.context,
            y=conditioning.pooled,
            guidance=self._empty(batch),
        )


@dataclass(frozen=True)
class ChromaOutline(FluxOutline):
    """A Chroma transformer in the original layout: it takes neither a pooled embedding nor a guidance scale."""

    def conditioning(self, batch: int) -> Conditioning:
        """See ``contract.Inspection.conditioning``."""
        return Conditioning(self._empty(batch, FLUX_TOKENS, self._inputs("txt_in")))

    def predict(self, batch: int, width: int, height: int, states: Sequence[Tensor] = ()) -> Tensor:
        """See ``contract.Inspection.predict``; its text encoder does not learn."""
        channels, factor = self._inputs("img_in") // 4, self.vae_factor
        return self.unet(
            self._empty(batch, channels, height // factor, width // factor),
            torch.zeros(batch, device="meta"),
            context=self.conditioning(batch).context,
        )


def outline(model: ModelInfo, unet: nn.Module, texts: list[nn.Module]) -> Outline:
    """The outline of a resident UNet and its text encoders; no weight is copied, nothing changed."""
    sizes = _sizes(unet, texts)
    unet, texts = without_numbers(unet), [text_without_numbers(text) for text in texts]
    for module in unet.modules():
        if hasattr(module, "to_q") and hasattr(module, "to_out"):
            module.forward = MethodType(_attend, module)
    targets = list(original_unet_targets(unet, model.family))
    for part, text in zip(TEXT_PARTS, texts, strict=False):
        targets += text_targets(text, model.family, part)
    return Outline(**facts(model), sizes=sizes, unet=unet, texts=texts, targets=targets)


def flux_outline(
    model: ModelInfo, transformer: nn.Module, texts: list[nn.Module], kind: type[FluxOutline] = FluxOutline
) -> FluxOutline:
    """As :func:`outline`, of a resident transformer of Flux's kind."""
    sizes = _sizes(transformer, texts)
    transformer = without_numbers(transformer)
    targets = list(flux_targets(transformer))
    return kind(**facts(model), sizes=sizes, unet=transformer, texts=[], targets=targets)


def unet_blocks(unet: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of an original UNet, or of a Flux transformer."""
    return (module for module in unet.modules() if type(module).__name__ in _BLOCKS)


def text_without_numbers(text: nn.Module) -> nn.Module:
    """As :func:`without_numbers`, of a text encoder; its embeddings, which the WebUIs wrap, are left out."""
    model = text.get_submodule("text_model")
    held = [vars(model).get("_embeddings"), model._modules.get("embeddings")]
    return without_numbers(text, {id(embeddings): nn.Module() for embeddings in held if embeddings is not None})


def without_numbers(root: nn.Module, instead: Mapping[int, Any] | None = None) -> nn.Module:
    """A copy whose tensors are all on the meta device; what a WebUI has hung on the modules is not taken along.

    ``instead``: by the ``id`` of what the model holds, what the copy holds in its place.
    """
    memo: dict[int, Any] = dict(instead or {})
    for module in root.modules():
        for tensors in (module._parameters, module._buffers, vars(module)):
            memo.update({id(value): _on_meta(value) for value in tensors.values() if isinstance(value, Tensor)})
    clone = copy.deepcopy(root, memo)
    for module in clone.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
        vars(module).pop("forward", None)
        # The name by which the Lora extension merges a prompt's LoRAs into a layer's weights.
        vars(module).pop("network_layer_name", None)
    return clone


def _on_meta(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.detach().to("meta"), requires_grad=False)
    return tensor.to("meta")


def _attend(self: Any, x: Tensor, context: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """``CrossAttention.forward`` by PyTorch's own kernel, which is what a run uses."""
    source = x if context is None else context
    heads = [
        layer.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        for layer in (self.to_q(x), self.to_k(source), self.to_v(source))
    ]
    return self.to_out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def facts(model: ModelInfo) -> dict[str, Any]:
    """What an ``Inspection`` takes over from the facts of a session."""
    names = ("name", "family", "prediction_type", "vae_factor", "resolution", "device", "dtype", "warnings")
    return {name: getattr(model, name) for name in names}


def _sizes(unet: nn.Module, texts: list[nn.Module]) -> dict[str, Size]:
    return {"unet": size(unet)} | {part: size(text) for part, text in zip(TEXT_PARTS, texts, strict=False)}


def size(model: nn.Module) -> Size:
    """Parameters of a model, and the bytes of these and of the scales of weights in 8 bits, its only large buffers."""
    held = [*model.parameters(), *(one for one in model.buffers() if one.is_floating_point())]
    parameters = sum(one.numel() for one in model.parameters())
    return Size(parameters, sum(one.numel() * one.element_size() for one in held))
