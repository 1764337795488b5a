"""The files of a LoRA's card in the WebUI: ``NAME.json``, which users edit there, and the preview ``NAME.png``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..config import Config
from ..contract import ModelInfo
from ..errors import UserError
from ..families.registry import by_name
from ..files import write_bytes, write_text

#: key of the values that a run wrote: those that are unchanged are replaced by a later run of the same name
_WRITTEN = "lora trainer"
_WEIGHT = "preferred weight"


def write(lora: Path, config: Config, model: ModelInfo) -> Path:
    """Write ``NAME.json`` beside ``lora``; what a user has filled in there, and keys of other tools, stay.

    Raises:
        UserError: there is a file of that name which is not a card's.
    """
    path = lora.with_suffix(".json")
    card = {
        "description": f"LoRA of rank {config.lora_rank}, trained on {model.name}.",
        "sd version": model.card_version or by_name(model.family).short_title,
        "activation text": config.trigger_word,
        _WEIGHT: 1.0,
        "negative text": "",
        "notes": "",
    }
    _write_card(path, card)
    return path


def stage(lora: Path, finished: Path, trigger_word: str, strength: float) -> Path:
    """Write the card beside ``lora``, a checkpoint of the training whose finished file is ``finished``: its card, with
    ``strength`` as preferred weight; without one, as much as is known.

    Raises:
        UserError: the card of the finished file is none.
    """
    known = _read(finished.with_suffix(".json"))
    known.pop(_WRITTEN, None)
    values = {"description": "", "activation text": trigger_word, "negative text": "", "notes": "", **known}
    values[_WEIGHT] = strength
    path = lora.with_suffix(".json")
    write_text(path, _text({**values, _WRITTEN: values}))
    return path


def prefer(lora: Path, strength: float) -> None:
    """Let ``strength`` be the preferred weight on the card beside ``lora``, whatever is there.

    Raises:
        UserError: there is a file of that name which is not a card's.
    """
    path = lora.with_suffix(".json")
    there = _read(path)
    if there.get(_WEIGHT) != strength:
        written = there.get(_WRITTEN)
        written = {**written, _WEIGHT: strength} if isinstance(written, dict) else {_WEIGHT: strength}
        write_text(path, _text({**there, _WEIGHT: strength, _WRITTEN: written}))


def write_preview(lora: Path, image: Path) -> Path:
    """Copy a PNG file to ``NAME.png`` beside ``lora``."""
    path = lora.with_suffix(".png")
    write_bytes(path, image.read_bytes())
    return path


def copy(lora: Path, folder: Path) -> None:
    """Copy the card beside ``lora`` into ``folder``; what a user has filled in on a card of that name there stays.

    Raises:
        UserError: there is a file of that name which is not a card's.
    """
    card = lora.with_suffix(".json")
    if card.exists():
        _write_card(folder / card.name, _read(card))


def activation_text(lora: Path) -> str:
    """What the card beside ``lora`` puts into a prompt; empty where it says nothing, or is none."""
    try:
        text = _read(lora.with_suffix(".json")).get("activation text")
    except (UserError, OSError):
        return ""
    return text if isinstance(text, str) else ""


def _write_card(path: Path, card: dict[str, Any]) -> None:
    """Write ``card``, but for what a user or another tool has filled in on the one that is there."""
    there = _read(path)
    ours = there.pop(_WRITTEN, None)
    ours = ours if isinstance(ours, dict) else {}
    edited = {
        key: value for key, value in there.items() if (value or key not in card) and (key, value) not in ours.items()
    }
    new = {key: value for key, value in card.items() if key != _WRITTEN}
    write_text(path, _text({**new, **edited, _WRITTEN: new}))


def _text(card: dict[str, Any]) -> str:
    return json.dumps(card, indent=4, ensure_ascii=False) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path}: this file is not valid JSON ({error}); fix it or move it away.") from error
    if not isinstance(card, dict):
        raise UserError(f"{path}: this file is not a LoRA's card; move it away.")
    return card
