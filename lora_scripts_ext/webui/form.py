"""The form of the tab: which keys it asks for, how each looks, and its values to a config and back."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

import gradio as gr
import yaml

from .. import config as configs
from .. import config_file, form_fields
from ..config import Config
from ..errors import UserError
from . import paths

#: what is folded away, by heading, and every key in the order of the fields
FOLDED, KEYS = form_fields.FOLDED, form_fields.KEYS
#: those that name a file or folder of this computer
PATHS = ("train_data_dir", "metadata_path", "reg_data_dir", "mask_dir", "init_lora")
_TYPES = typing.get_type_hints(Config)


def field(key: str, value: Any) -> gr.components.Component:
    """The component that asks for *key*, holding *value*, with its help text."""
    kind, value = _TYPES[key], to_field(key, value)
    label, help_text = form_fields.label(key), form_fields.help_text(key)
    arguments = {"label": label, "value": value, "info": help_text, "elem_id": f"lt_{key}"}
    if kind is bool:
        return gr.Checkbox(**arguments)
    if typing.get_origin(kind) is Literal:
        return gr.Dropdown(choices=list(typing.get_args(kind)), **arguments)
    if kind in (int, float):
        return gr.Number(precision=0 if kind is int else None, **arguments)
    return gr.Textbox(lines=3 if key == "preview_prompts" else 1, **arguments)


def to_field(key: str, value: Any) -> Any:
    """A config's value as the component shows it."""
    if key == "preview_prompts":
        return "\n".join(value)
    if _as_text(key):
        return "" if value in (None, [], {}) else yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n")
    return value


def from_field(key: str, value: Any) -> Any:
    """What a component holds as a config's value; checked later.

    Raises:
        UserError: what should be YAML is none.
    """
    if key == "preview_prompts":
        return [line.strip() for line in value.splitlines() if line.strip()]
    if _as_text(key):
        try:
            return config_file.value(value, "The form") if value.strip() else configs.default(key)
        except UserError as error:
            raise UserError(f"The form: {key} is {value!r}, which cannot be read; see the help below it.") from error
    return configs.default(key) if value is None else value


def config(values: tuple[Any, ...]) -> Config:
    """The config that the form's *values* (in the order of ``KEYS``) ask for, on the model that is loaded.

    Raises:
        UserError: a value is wrong, a folder may not be read, or no model is loaded.
    """
    settings = {key: from_field(key, value) for key, value in zip(KEYS, values, strict=True)}
    for key in PATHS:
        settings[key] = str(paths.readable(settings[key])) if settings[key] else ""
    settings["output_name"] = settings["output_name"].strip() or "my_lora"
    settings["base_model"] = paths.require_checkpoint()
    settings["output_dir"] = str(paths.run_dir(settings["output_name"]))
    return configs.from_dict(settings, "The form")


def shown(settings: dict[str, Any]) -> list[Any]:
    """Updates of every field: what *settings* names gets its value, the others their default."""
    return [gr.update(value=to_field(key, settings.get(key, configs.default(key)))) for key in KEYS]


def _as_text(key: str) -> bool:
    """Lists, mappings and what may be empty are written as YAML writes them."""
    kind = _TYPES[key]
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) in (list, dict)
