"""What holds for a whole catalogue: where its products come from, how their images are drawn, marked and finished."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from .. import config_check
from ..errors import UserError
from ..products import addresses

VisibleMark = Literal["ask", "without", "with", "leave out"]
#: settings that name a file or folder, or hold its content when they are handed in
CONTENTS = ("rules", "templates", "glossary", "words")
#: settings that name a file or folder
PATHS = ("source", *CONTENTS)
_MOST_CANDIDATES = 100


def _setting(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    metadata = {"help": help, "low": low, "high": high, "above": None}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The settings of a catalogue; what each is for stands in its field."""

    name: str = _setting("", "What lists call the catalogue.")
    source: str = _setting("", "File or folder that the products were read from; empty: they were handed in.")
    columns: dict[str, Any] = _setting({}, "Which column of the list is which field.")
    rules: str = _setting("", "File that says which products are drawn with which LoRAs.")
    templates: str = _setting("", "File that says how prompts are made, before those that ship.")
    glossary: str = _setting("", "File with words of products and what the base model calls them.")
    words: str = _setting("", "File with words that no prompt may hold, and competitors' names.")
    photos_from: list[str] = _setting(
        [], "What the addresses of photos begin with that are fetched from the web; without one none are."
    )
    folder: str = _setting("", "Folder that paths in the list are relative to.")
    channels: list[str] = _setting([], "Channels that images are finished for, by name or file.")
    language: Literal["en", "zh"] = _setting("en", "That the base model understands.")
    base_model: str = _setting("", "Checkpoint or diffusers folder; in a WebUI the one that is loaded.")
    webui: str = _setting("", "Address of another WebUI that draws, where the operator allows it; empty draws here.")
    webui_login: str = _setting("", "Environment variable that holds USER:PASSWORD of that WebUI; empty: it has none.")
    seed: int = _setting(1234, "All seeds are derived from it.", low=0, high=2**32 - 1)
    candidates: int = _setting(4, "Images of each product.", low=1, high=_MOST_CANDIDATES)
    negative_prompt: str = _setting("", "Negative prompt of every product, before its own.")
    width: int = _setting(0, "Width in pixels; 0 takes the base model's.", low=0, high=8192)
    height: int = _setting(0, "Height in pixels; 0 takes the base model's.", low=0, high=8192)
    steps: int = _setting(20, "Sampling steps.", low=1, high=1000)
    cfg_scale: float = _setting(0.0, "CFG scale (Flux: guidance); 0 takes the usual one.", low=0, high=100)
    sampler: str = _setting("Euler", "Sampler, by the WebUI's name.")
    keep_product: bool = _setting(False, "Keep the product of a photo with a mask, and draw only what is around it.")
    control: dict[str, Any] = _setting({}, "For control images: ControlNet's `preprocessor`, `model` and `weight`.")
    reference: dict[str, Any] = _setting({}, "Likewise for reference images, which an IP-Adapter is given.")
    producer: str = _setting("LoRA-Trainer", "Who makes the images, for their labels: a name or a code in ASCII.")
    market: str = _setting("", "Country whose law on visible marks counts, such as CN; empty: none.")
    visible_mark: VisibleMark = _setting(
        "ask", "Where that law wants a visible mark and a channel forbids it: without, with, or leave out the channel."
    )
    write_parameters: bool = _setting(True, "Write the generation parameters into the images.")


def from_dict(values: dict[str, Any], where: str) -> Settings:
    """Check keys, types and ranges.

    Raises:
        UserError: an unknown key, a wrong type, a value out of range.
    """
    fields = {one.name: one for one in dataclasses.fields(Settings)}
    types = typing.get_type_hints(Settings)
    for key in values:
        if key not in fields:
            raise UserError(f"{where}: unknown key {config_check.shown(key)}; the keys are {', '.join(fields)}.")
    checked = {
        key: config_check.checked(key, value, types[key], fields[key].metadata, where) for key, value in values.items()
    }
    settings = Settings(**checked)
    for beginning in settings.photos_from:
        addresses.check(beginning, f"{where}: photos_from")
    for key in ("control", "reference"):
        _check_control(key, getattr(settings, key), where)
    return settings


def _check_control(key: str, values: dict[str, Any], where: str) -> None:
    kinds = {"preprocessor": str, "model": str, "weight": int | float}
    for name, value in values.items():
        if name not in kinds or not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise UserError(f"{where}: {key} has {name}: {value!r}; the keys are preprocessor, model and weight.")
