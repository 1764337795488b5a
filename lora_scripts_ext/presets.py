"""What suits a brand's look, a product, a character or a car: the configs that ship, without their paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .config import FIELDS, default

_FOLDER = Path(__file__).resolve().parents[1] / "configs"
KINDS = {
    "A brand's look": "brand_style.yaml",
    "One product": "product.yaml",
    "A character or object": "character.yaml",
    "A car": "car.yaml",
}
#: what programs call them -> what people do
NAMES = {file.removesuffix(".yaml"): title for title, file in KINDS.items()}
_OWN = ("train_data_dir", "metadata_path", "base_model", "output_dir", "trigger_word", "preview_prompts")


def values(kind: str) -> dict[str, Any]:
    """Every key that a preset may set, with the value it has for *kind*: the config's, or the default."""
    settings = yaml.safe_load((_FOLDER / KINDS[kind]).read_text(encoding="utf-8"))
    return {key: settings.get(key, default(key)) for key in FIELDS if key not in _OWN}
