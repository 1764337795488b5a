"""Where a UNet takes text in, by diffusers' names and by the original ones (ldm, sgm and what descends from them)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from .layer import features

# Where the WebUIs have patched the text, keys and values may come from different ones.
_TEXTS = ("context", "value", "encoder_hidden_states")


@dataclass(frozen=True)
class ResidualBlock:
    """A block that adds its projection of the embedding of time (and of the pooled text) to all cells alike.

    Attributes:
        block: takes the cells and the embedding.
        norm: what is computed right after the addition.
    """

    block: nn.Module
    norm: nn.Module

    def projected(self, embedding: Tensor) -> Tensor:
        """[batch, width] -> what the block adds to the cells, [batch, channels]."""
        if hasattr(self.block, "emb_layers"):
            return self.block.get_submodule("emb_layers")(embedding)
        activated = self.block.get_submodule("nonlinearity")(embedding)
        return self.block.get_submodule("time_emb_proj")(activated)


def cross_attentions(unet: nn.Module) -> list[nn.Module]:
    """The layers that attend to the text; they take it as the options that :func:`texts` names."""
    return [module for path, module in unet.named_modules() if path.endswith(".attn2")]


def texts(options: Mapping[str, object]) -> list[str]:
    """Under which of its options a cross-attention is given the text."""
    return [name for name in _TEXTS if options.get(name) is not None]


def residual_blocks(unet: nn.Module) -> Iterator[ResidualBlock]:
    """Those that add the embedding of time."""
    for module in unet.modules():
        if hasattr(module, "emb_layers"):
            yield ResidualBlock(module, module.get_submodule("out_layers.0"))
        elif hasattr(module, "time_emb_proj"):
            yield ResidualBlock(module, module.get_submodule("norm2"))


def pooled_embedding(unet: nn.Module) -> nn.Module | None:
    """What embeds SDXL's pooled text and sizes; None in a UNet that takes none."""
    for name in ("add_embedding", "label_emb"):
        module = unet._modules.get(name)
        if module is not None:
            return module
    return None


def width(embedding: nn.Module) -> int:
    """How many numbers :func:`pooled_embedding` takes."""
    first = next(module for module in embedding.modules() if hasattr(module, "in_features"))
    return features(first)[0]
