"""The keys of LoRA files of several programs brought to one naming, that of kohya's files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ..errors import UserError
from ..models.layer_names import UNetLayout

_UNET = "lora_unet_"
_DIFFUSERS = re.compile(r"lora_unet_(down_blocks|up_blocks|mid_block)_")
_ORIGINAL = re.compile(r"lora_unet_(input_blocks|output_blocks|middle_block)_")
_ATTENTION = re.compile(r"lora_unet_(down|up)_blocks_(\d+)_attentions_(\d+)_")
# Their layers are cut differently from those of the files for the original layout.
_SPLIT = re.compile(r"lora_unet_(single_)?transformer_blocks_\d+_(attn|ff|norm|proj)")
_SDXL = UNetLayout(layers_per_block=2, attention_levels=(False, True, True))


def kohya_names(keys: Collection[str], is_sdxl: bool | None, path: object) -> dict[str, str]:
    """The name that kohya's scripts give each of these layers, by its key as ``opened`` gives it.

    SD1's and SD2's UNets are named as diffusers does, SDXL's as the original checkpoint does; only SDXL's text encoders
    have a number.

    Args:
        keys: of one file, or of all that are to have one naming.
        is_sdxl: whether they are for SDXL; None where that is not known.
        path: is named in errors.

    Raises:
        UserError: a layer has no such name.
    """
    if split := next((key for key in keys if _SPLIT.match(key)), None):
        raise UserError(
            f"{path}: its layers have diffusers' names for Flux ({split}); give the file with kohya's or the original "
            "names."
        )
    originals = any(_ORIGINAL.match(key) for key in keys)
    sdxl = is_sdxl or originals or any(key.startswith("lora_te2_") for key in keys)
    named = {key: key for key in keys}
    if not sdxl:
        plain = any(_DIFFUSERS.match(key) or key.startswith("lora_te_") for key in keys)
        return {key: key.replace("lora_te1_", "lora_te_", 1) if plain else key for key in named}
    table = _original_names(keys, is_sdxl)
    for key in keys:
        if _DIFFUSERS.match(key):
            named[key] = _translated(key, table, path)
    return named


def _original_names(keys: Collection[str], is_sdxl: bool | None) -> dict[str, str]:
    """Diffusers' names of modules, with underscores, and the original ones."""
    layout = _SDXL
    if not is_sdxl:
        paths = [f"{m[1]}_blocks.{m[2]}.attentions.{m[3]}." for key in keys if (m := _ATTENTION.match(key))]
        layout = UNetLayout.of_paths(paths) or _SDXL
    return {path.replace(".", "_"): original.replace(".", "_") for path, original in layout.originals().items()}


def _translated(key: str, table: Mapping[str, str], path: object) -> str:
    head = key.removeprefix(_UNET)
    while head:
        if head in table:
            return _UNET + table[head] + key[len(_UNET) + len(head) :]
        head = head.rpartition("_")[0]
    raise UserError(f"{path}: the layer {key} has no name in the original layout of SDXL; choose another LoRA file.")
