"""How programs name the tensors of a LoRA: kohya's scripts, PEFT, diffusers of every age, ComfyUI, ai-toolkit."""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["down", "up", "alpha"]

_ROLES: dict[str, Role] = {"down": "down", "A": "down", "up": "up", "B": "up"}
# PEFT may put an adapter's name in: lora_A.default.weight.
_ENDS = (
    re.compile(r"^(?P<path>.+)\.lora_(?P<role>down|up)\.weight$"),
    re.compile(r"^(?P<path>.+)\.lora_(?P<role>A|B)(\.[^.]+)?\.weight$"),
    re.compile(r"^(?P<path>.+)\.lora\.(?P<role>down|up)\.weight$"),
    re.compile(r"^(?P<path>.+)\.lora_linear_layer\.(?P<role>down|up)\.weight$"),
    # diffusers before 0.22: attention processors.
    re.compile(r"^(?P<path>.+\.to_(q|k|v|out))_lora\.(?P<role>down|up)\.weight$"),
)
_PEFT = "base_model.model."
_PREFIXES = {
    "unet.": "lora_unet_",
    "text_encoder.": "lora_te1_",
    "text_encoder_2.": "lora_te2_",
    "text_encoders.clip_l.transformer.": "lora_te1_",
    "text_encoders.clip_h.transformer.": "lora_te1_",
    "text_encoders.clip_g.transformer.": "lora_te2_",
    "model.diffusion_model.": "lora_unet_",
    "diffusion_model.": "lora_unet_",
    "transformer.": "lora_unet_",
    "text_model.": "lora_te1_text_model_",
}
_UNET_PATHS = ("down_blocks.", "up_blocks.", "mid_block.", "input_blocks.", "middle_block.", "output_blocks.")


def split(name: str) -> tuple[str, Role] | None:
    """A tensor's name -> the path of its layer as the file has it, and its role; None where it is of no LoRA."""
    if name.endswith(".alpha"):
        return name.removesuffix(".alpha"), "alpha"
    for pattern in _ENDS:
        if match := pattern.match(name):
            return match["path"], _ROLES[match["role"]]
    return None


def is_peft(path: str) -> bool:
    """Whether PEFT itself wrote this, whose alpha is in a file beside."""
    return path.startswith(_PEFT)


def module_path(path: str) -> str:
    """PEFT's name of the module: the path without what PEFT wraps around it."""
    return path.removeprefix(_PEFT)


def kohya(path: str, text: Literal["te1", "te2"] = "te1") -> str:
    """The kohya key of a layer: ``lora_unet_``, ``lora_te1_`` or ``lora_te2_`` and the path with underscores.

    ``text`` is the encoder that a path without a prefix belongs to.
    """
    path = _modern(module_path(path))
    if path.startswith("lora_"):
        return path
    if path.startswith("text_model."):
        return f"lora_{text}_{path.replace('.', '_')}"
    for prefix, ours in _PREFIXES.items():
        if path.startswith(prefix):
            return ours + path.removeprefix(prefix).replace(".", "_")
    if path.startswith(_UNET_PATHS):
        return f"lora_unet_{path.replace('.', '_')}"
    return path


def _modern(path: str) -> str:
    """A path named after an attention processor, as diffusers' and transformers' modules are named."""
    path = path.replace(".processor.to_out", ".processor.to_out.0").replace(".processor.", ".")
    match = re.match(r"^(.*\.self_attn)\.to_(q|k|v|out)$", path)
    return f"{match[1]}.{match[2]}_proj" if match else path
