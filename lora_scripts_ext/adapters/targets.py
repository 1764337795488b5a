"""Which layers are trained: the target sets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from ..contract import Target
from ..errors import UserError
from ..models.targets import TEXT_LAYER

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


def select(targets: Iterable[Target], target_set: TargetSet, train_text_encoder: bool) -> list[Target]:
    """The targets that are trained.

    ``attention``: query, key, value and output of every attention. ``attention-mlp``: all layers of the transformer
    blocks. ``full``: also the layers of residual blocks, down- and upsamplers, and Flux's modulations. Text encoders,
    when trained, in attention and feed-forward whatever the set.

    Raises:
        UserError: the model has no such layer.
    """
    chosen = [target for target in targets if _is_trained(target, target_set, train_text_encoder)]
    if not any(target.part == "unet" for target in chosen):
        raise UserError(
            f"target is {target_set}, but the base model has no such layers; choose a Stable Diffusion model."
        )
    return chosen


def smallest_set(keys: Iterable[str]) -> TargetSet:
    """The smallest target set that holds all of these kohya UNet keys."""
    sets = [_set_of(key) for key in keys]
    return next((name for name in ("full", "attention-mlp") if name in sets), "attention")


def _is_trained(target: Target, target_set: TargetSet, train_text_encoder: bool) -> bool:
    if target.part != "unet":
        return train_text_encoder and TEXT_LAYER.search(target.path) is not None
    if _ATTENTION.search(target.path):
        return True
    if _MLP.search(target.path):
        return target_set != "attention"
    return target_set == "full" and _REST.search(target.path) is not None


def _set_of(key: str) -> TargetSet:
    if _ATTENTION.search(key):
        return "attention"
    return "attention-mlp" if _MLP.search(key) else "full"
