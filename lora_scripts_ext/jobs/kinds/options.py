"""The config of a job other than a training: a dataclass whose fields are its keys."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any, TypeVar

from ... import config_check
from ...errors import UserError

Options = TypeVar("Options")


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A key: its value when it is not given, what it is for, its inclusive bounds."""
    metadata = {"help": help, "low": low, "high": high, "above": None}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read(kind: type[Options], values: dict[str, Any], where: str, required: tuple[str, ...] = ()) -> Options:
    """Check keys, types and ranges of ``values``.

    Raises:
        UserError: an unknown or missing key, a wrong type, a value out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    types = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), list(fields), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(fields)}."
            raise UserError(f"{where}: unknown key {config_check.shown(key)}; {hint}")
    checked = {
        key: config_check.checked(key, value, types[key], fields[key].metadata, where) for key, value in values.items()
    }
    for key in required:
        if not checked.get(key):
            help_text = fields[key].metadata["help"]
            raise UserError(f"{where}: {key} is missing; {help_text[0].lower()}{help_text[1:]}")
    return kind(**checked)
