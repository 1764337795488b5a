"""The layers of base models that an adapter can attach to, by their kohya keys and diffusers paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from torch import nn

from ..contract import FamilyName, Part, Target
from . import layer_names

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

TEXT_LAYER = re.compile(r"\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])$")


def unet_targets(unet: UNet2DConditionModel, family: FamilyName) -> Iterator[Target]:
    """Every Linear and Conv2d of a diffusers ``UNet2DConditionModel``."""
    layout = layer_names.UNetLayout.from_block_types(unet.config.down_block_types, unet.config.layers_per_block)
    for path, module, kind in _layers(unet):
        yield Target(module, layer_names.unet_key(family, path, layout), path, "unet", kind)


def original_unet_targets(unet: nn.Module, family: FamilyName) -> Iterator[Target]:
    """Every Linear and Conv2d of an original UNet (``UNetModel`` of ldm and sgm) that diffusers has, too."""
    layout = original_layout(unet)
    for original, module, kind in _layers(unet):
        path = layout.find_diffusers(original)
        if path is not None:
            yield Target(module, layer_names.unet_key(family, path, layout), path, "unet", kind)


def flux_targets(transformer: nn.Module) -> Iterator[Target]:
    """Every Linear in the double and single blocks of a Flux transformer in the original layout."""
    for path, module, kind in _layers(transformer):
        if path.startswith(("double_blocks.", "single_blocks.")):
            yield Target(module, layer_names.flux_key(path), path, "unet", kind)


def original_layout(unet: nn.Module) -> layer_names.UNetLayout:
    """The layout of an original UNet, read off its modules."""
    levels, attended = [0], [False]
    for entry in list(unet.get_submodule("input_blocks").children())[1:]:
        kinds = [type(part).__name__ for part in entry.children()]
        if "Downsample" in kinds:
            levels.append(0)
            attended.append(False)
        else:
            levels[-1] += 1
            attended[-1] |= "SpatialTransformer" in kinds
    return layer_names.UNetLayout(levels[0], tuple(attended))


def text_targets(text_model: nn.Module, family: FamilyName, part: Part) -> Iterator[Target]:
    """Every Linear in the layers of a transformers ``CLIPTextModel`` (or ``…WithProjection``)."""
    for path, module, kind in _layers(text_model):
        if TEXT_LAYER.search(path):
            yield Target(module, layer_names.text_key(family, part, path), path, part, kind)


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Literal["linear", "conv"]]]:
    for path, module in model.named_modules():
        # Forge's Linear is a class of its own.
        if isinstance(module, nn.Linear) or (type(module).__name__ == "Linear" and hasattr(module, "in_features")):
            yield path, module, "linear"
        elif isinstance(module, nn.Conv2d):
            yield path, module, "conv"
