"""What suits a brand's look, a product, a character or a car: the configs that ship, without their paths."""

from __future__ import annotations

import copy
import functools
import math
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
# A season's or a scene's look is learned as a brand's is.
_LIKE = {"season": "brand_style", "scene": "brand_style"}
#: how many images each preset's epochs are meant for
_MEANT_FOR = {"brand_style.yaml": 100, "product.yaml": 40, "character.yaml": 25, "car.yaml": 100}
_LEAST_FACTOR, _MOST_FACTOR = 0.25, 4.0
_OWN = ("train_data_dir", "metadata_path", "base_model", "output_dir", "trigger_word", "preview_prompts")


def values(kind: str, images: int | None = None) -> dict[str, Any]:
    """Every key that a preset may set, with the value it has for *kind*: the config's, or the default.

    Args:
        kind: a key of ``KINDS``.
        images: how many will be trained on. The epochs then grow or shrink with the square root of the number that the
            preset is meant for over this one: a small set is trained on for longer than so few images in as many
            epochs would be, and each of its images is still seen less often than if all runs had the same length.
            Checkpoints and previews keep their number.
    """
    settings = dict(_settings(KINDS[kind]))
    if images:
        settings |= _scaled(settings, _MEANT_FOR[KINDS[kind]] / images)
    # A copy: a list in it is the caller's to change.
    return copy.deepcopy({key: settings.get(key, default(key)) for key in FIELDS if key not in _OWN})


def title(kind: str) -> str:
    """The preset, a key of ``KINDS``, that models of this kind are trained with."""
    return NAMES[_LIKE.get(kind, kind)]


@functools.cache
def _settings(file: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((_FOLDER / file).read_text(encoding="utf-8"))
    return settings


def _scaled(settings: dict[str, Any], ratio: float) -> dict[str, Any]:
    factor = min(_MOST_FACTOR, max(_LEAST_FACTOR, math.sqrt(ratio)))
    # 0 switches checkpoints or previews off.
    periods = {key: settings[key] for key in ("save_epochs", "preview_epochs") if settings.get(key)}
    scaled = {"epochs": settings.get("epochs", default("epochs")), **periods}
    return {key: max(1, round(value * factor)) for key, value in scaled.items()}
