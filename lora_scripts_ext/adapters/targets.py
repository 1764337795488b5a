"""Which layers learn: the target sets, and the targets of diffusers and transformers models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from torch import nn

from ..errors import UserError
from ..hosts.base import Family, Part, Target
from . import names

TargetSet = Literal["attention", "attention-mlp", "full"]

# Dots in paths, underscores in kohya keys: both are matched by the end of the name.
# Flux's single blocks compute attention and feed-forward in the same two layers.
_ATTENTION = re.compile(
    r"[._]attn[12][._]to_(q|k|v|out[._]0)$|[._](img|txt)_attn[._](qkv|proj)$|single_blocks[._]\d+[._]linear[12]$"
)
_MLP = re.compile(r"[._](ff[._]net[._](0[._]proj|2)|proj_in|proj_out|(img|txt)_mlp[._][02])$")
_REST = re.compile(
    r"\.resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)$|\.(downsamplers|upsamplers)\.0\.conv$"
    r"|_blocks\.\d+\.(img_mod|txt_mod|modulation)\.lin$"
)
_TEXT = re.compile(r"\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])$")


def select(targets: Iterable[Target], target_set: TargetSet, train_text_encoder: bool) -> list[Target]:
    """The targets that learn.

    ``attention``: query, key, value and output of every attention. ``attention-mlp``: all layers of the transformer
    blocks. ``full``: also the layers of residual blocks, down- and upsamplers, and Flux's modulations. Text encoders,
    when trained, learn in attention and feed-forward whatever the set.

    Raises:
        UserError: the model has no such layer.
    """
    chosen = [target for target in targets if _learns(target, target_set, train_text_encoder)]
    if not any(target.part == "unet" for target in chosen):
        raise UserError(
            f"target is {target_set}, but the base model has no such layers; choose a Stable Diffusion model."
        )
    return chosen


def smallest_set(keys: Iterable[str]) -> TargetSet:
    """The smallest target set that holds all of these kohya UNet keys."""
    sets = [_set_of(key) for key in keys]
    return next((name for name in ("full", "attention-mlp") if name in sets), "attention")


def unet_targets(unet: nn.Module, family: Family) -> Iterator[Target]:
    """Every Linear and Conv2d of a diffusers ``UNet2DConditionModel``."""
    layout = names.UNetLayout.from_block_types(unet.config.down_block_types, unet.config.layers_per_block)
    for path, module, kind in _layers(unet):
        yield Target(module, names.unet_key(family, path, layout), path, "unet", kind)


def original_unet_targets(unet: nn.Module, family: Family) -> Iterator[Target]:
    """Every Linear and Conv2d of an original UNet (``UNetModel`` of ldm and sgm) that diffusers has, too."""
    layout = original_layout(unet)
    for original, module, kind in _layers(unet):
        path = layout.find_diffusers(original)
        if path is not None:
            yield Target(module, names.unet_key(family, path, layout), path, "unet", kind)


def flux_targets(transformer: nn.Module) -> Iterator[Target]:
    """Every Linear in the double and single blocks of a Flux transformer in the original layout."""
    for path, module, kind in _layers(transformer):
        if path.startswith(("double_blocks.", "single_blocks.")):
            yield Target(module, names.flux_key(path), path, "unet", kind)


def original_layout(unet: nn.Module) -> names.UNetLayout:
    """The layout of an original UNet, read off its modules."""
    levels, attended = [0], [False]
    for entry in list(unet.input_blocks)[1:]:
        kinds = [type(part).__name__ for part in entry]
        if "Downsample" in kinds:
            levels.append(0)
            attended.append(False)
        else:
            levels[-1] += 1
            attended[-1] |= "SpatialTransformer" in kinds
    return names.UNetLayout(levels[0], tuple(attended))


def text_targets(text_model: nn.Module, family: Family, part: Part) -> Iterator[Target]:
    """Every Linear in the layers of a transformers ``CLIPTextModel`` (or ``…WithProjection``)."""
    for path, module, kind in _layers(text_model):
        if _TEXT.search(path):
            yield Target(module, names.text_key(family, part, path), path, part, kind)


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Literal["linear", "conv"]]]:
    for path, module in model.named_modules():
        # Forge's Linear is a class of its own.
        if isinstance(module, nn.Linear) or (type(module).__name__ == "Linear" and hasattr(module, "in_features")):
            yield path, module, "linear"
        elif isinstance(module, nn.Conv2d):
            yield path, module, "conv"


def _learns(target: Target, target_set: TargetSet, train_text_encoder: bool) -> bool:
    if target.part != "unet":
        return train_text_encoder and _TEXT.search(target.path) is not None
    if _ATTENTION.search(target.path):
        return True
    if _MLP.search(target.path):
        return target_set != "attention"
    return target_set == "full" and _REST.search(target.path) is not None


def _set_of(key: str) -> TargetSet:
    if _ATTENTION.search(key):
        return "attention"
    return "attention-mlp" if _MLP.search(key) else "full"
