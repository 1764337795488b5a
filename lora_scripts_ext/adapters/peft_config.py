"""PEFT's configuration of a LoRA: its alpha, and whether it is a plain LoRA at all."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

FILE = "adapter_config.json"
# Initialisations that subtract something from the base model, which the matrices do not show.
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True)
class PeftConfig:
    """``LoraConfig`` as PEFT writes it to ``adapter_config.json`` and diffusers to the file's metadata."""

    alpha: float
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    base_class: str

    def alpha_of(self, path: str, rank: int) -> float:
        """The alpha of a module in the sense of kohya's files, whose scale is always alpha / rank.

        Rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732) scales by alpha / sqrt(rank).
        """
        pattern = next((key for key in self.alpha_pattern if re.match(rf"(.*\.)?({key})$", path)), None)
        alpha = self.alpha if pattern is None else self.alpha_pattern[pattern]
        return alpha * math.sqrt(rank) if self.rank_stabilised else alpha


def read_config(path: Path) -> PeftConfig:
    """Read an ``adapter_config.json``.

    Raises:
        UserError: it is missing or damaged, or the adapter is no plain LoRA.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: this file is missing, which holds the alpha of a LoRA of PEFT; copy it beside the LoRA."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: this file cannot be read ({error}); save the LoRA again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; save the LoRA again.")
    return parse(content, path)


def from_metadata(path: Path, text: str) -> dict[str, PeftConfig]:
    """By model (``unet``, ``text_encoder``), what diffusers wrote to ``lora_adapter_metadata``: JSON with keys such as
    ``unet.lora_alpha``.

    Raises:
        UserError: the text is damaged, or the adapter is no plain LoRA.
    """
    try:
        content = json.loads(text)
        models: dict[str, dict[str, Any]] = {}
        for key, value in content.items():
            model, _, name = key.partition(".")
            models.setdefault(model, {})[name] = value
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: the metadata entry lora_adapter_metadata has no valid lora_alpha; save the file again."
        ) from error
    return {model: parse(values, path) for model, values in models.items() if "lora_alpha" in values}


def parse(content: Mapping[str, Any], path: Path) -> PeftConfig:
    """Check the entries of a ``LoraConfig``; ``path`` is named in errors.

    Raises:
        UserError: an entry is damaged, or the adapter is no plain LoRA.
    """
    method = content.get("peft_type", "LORA")
    start = str(content.get("init_lora_weights"))
    if method != "LORA" or content.get("use_dora"):
        method = "DoRA" if content.get("use_dora") else method
        raise UserError(f"{path}: this adapter is a {method}; only plain LoRA can be continued.")
    if start.lower().startswith(_CHANGES_THE_BASE):
        raise UserError(
            f"{path}: this LoRA was initialised with {start}, which changes the base model, too; save it again with "
            "PEFT's path_initial_model_for_weight_conversion."
        )
    try:
        patterns = {str(key): float(value) for key, value in (content.get("alpha_pattern") or {}).items()}
        for pattern in patterns:
            re.compile(pattern)
        alpha = float(content.get("lora_alpha", 8))
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise UserError(f"{path}: PEFT's lora_alpha or alpha_pattern is not valid; save the LoRA again.") from error
    mapping = content.get("auto_mapping")
    base = mapping.get("base_model_class", "") if isinstance(mapping, dict) else ""
    return PeftConfig(alpha, patterns, bool(content.get("use_rslora")), str(base))
