"""Which images of a folder a person has rotated or cropped, and how: a list hidden beside them.

Their files stay as they are. Whoever decodes an image of the folder applies its edit (``decode``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .. import files, json_text
from ..errors import UserError
from .edit import UNEDITED, Edit, checked
from .excluded import HIDDEN

Edits = Mapping[str, Edit]
"""Edits by the name of the image, relative to the folder, with forward slashes; others have none."""
_FILE = "edits.json"
_FOLDERS = 16
_NONE: Edits = MappingProxyType({})


def read(folder: Path) -> Edits:
    """The edits of the images in ``folder``; read again only when the list has changed.

    Raises:
        UserError: the list is damaged.
    """
    path = folder / HIDDEN / _FILE
    if not path.is_file():
        return _NONE
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError) as error:
        # Of our own sentences the remedy is for who sends a request.
        what = str(error).partition(";")[0]
        raise UserError(f"{path}: this list of rotated and cropped images is damaged ({what}); delete it.") from error


def of(folder: Path, name: str) -> Edit:
    """The edit of one image.

    Raises:
        UserError: the list is damaged.
    """
    return read(folder).get(name, UNEDITED)


def write(folder: Path, edits: Edits) -> None:
    """Edit these images like this from now on, and no others."""
    kept = {name: _values(edits[name]) for name in sorted(edits) if edits[name] != UNEDITED}
    files.write_text(folder / HIDDEN / _FILE, json_text.dumps({"edits": kept}))


@functools.lru_cache(_FOLDERS)
def _read(path: Path, *_stamp: int) -> Edits:
    edits = json.loads(path.read_text(encoding="utf-8"))["edits"]
    return MappingProxyType({name: _edit(one) for name, one in edits.items()})


def _edit(values: Any) -> Edit:
    return checked(UNEDITED, values.get("rotate", 0), values.get("crop"))


def _values(edit: Edit) -> dict[str, Any]:
    return {"rotate": edit.rotate, "crop": None if edit.crop is None else list(edit.crop)}
