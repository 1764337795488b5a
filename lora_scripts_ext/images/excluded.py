"""Images of a folder that are not trained on, though they lie in it: a list hidden beside them."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from .. import files, json_text
from ..errors import UserError

#: where our own files lie, beside the images
HIDDEN = ".lora_trainer"
_FILE = "left_out.json"


def read(folder: Path) -> frozenset[str]:
    """Names relative to ``folder``, with forward slashes.

    Raises:
        UserError: the list is damaged.
    """
    path = folder / HIDDEN / _FILE
    if not path.is_file():
        return frozenset()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["left_out"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("left_out is no list of names")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: this list of excluded images is damaged ({error}); delete it.") from error
    return frozenset(names)


def write(folder: Path, names: Collection[str]) -> None:
    """Leave these images out from now on, and no others."""
    files.write_text(folder / HIDDEN / _FILE, json_text.dumps({"left_out": sorted(names)}, indent=1))
