"""The settings that suit a kind of model: the configs that ship, without their paths."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ..library.model import ModelKind

_FOLDER = Path(__file__).resolve().parents[2] / "configs"
#: what each model has of its own
OWN = ("train_data_dir", "metadata_path", "base_model", "output_dir", "output_name", "trigger_word", "preview_prompts")


def values(kind: ModelKind) -> dict[str, Any]:
    """The keys that the preset of this kind sets."""
    return dict(_read(kind))


@lru_cache
def _read(kind: ModelKind) -> dict[str, Any]:
    settings = yaml.safe_load((_FOLDER / f"{kind}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in settings.items() if key not in OWN}
