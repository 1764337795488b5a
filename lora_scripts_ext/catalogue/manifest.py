"""The manifest: which finished images there are, of which product, how they were made, who approved them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from .. import files, json_text
from ..errors import UserError

NAME, TABLE = "manifest.json", "manifest.csv"
#: of the table
COLUMNS = (
    "sku", "role", "position", "alt_en", "alt_zh", "file", "channel", "width", "height", "bytes", "sha256", "seed",
    "base_model_name", "base_model_sha256", "loras", "prompt", "negative", "label_source", "label_producer",
    "label_produce_id", "approval_by", "approval_at", "candidate",
    "copy_language", "copy_title", "copy_points",
)  # fmt: skip
_VERSION = 1
_BOM = b"\xef\xbb\xbf"


def read(folder: Path) -> list[dict[str, Any]]:
    """The images in the manifest of ``folder``; none where there is no manifest.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        images = value["images"]
        if not all(_is_inside(one["file"]) for one in images):
            raise ValueError("a file in it does not lie beside it")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path}: this manifest cannot be read ({error}); choose another folder, or remove it."
        ) from error
    return list(images)


def _is_inside(file: str) -> bool:
    path = PurePosixPath(file)
    return not path.is_absolute() and ".." not in path.parts and ":" not in file and "\\" not in file


def write(folder: Path, catalogue: str, images: Sequence[Mapping[str, Any]]) -> bool:
    """Write both files, unless they are there with this content; returns whether something was written."""
    text = json_text.dumps({"version": _VERSION, "catalogue": catalogue, "images": list(images)}, indent=1)
    # A spreadsheet knows by it that the file is UTF-8.
    table = _BOM + _table(images).encode("utf-8", "replace")
    return _changed(folder / NAME, f"{text}\n".encode()) | _changed(folder / TABLE, table)


def _changed(path: Path, content: bytes) -> bool:
    if path.is_file() and path.read_bytes() == content:
        return False
    files.write_bytes(path, content)
    return True


def _table(images: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(map(_row, images))
    return text.getvalue()


def _row(image: Mapping[str, Any]) -> dict[str, Any]:
    """An image in one row: what is below a key has its name behind that of the key."""
    row = {
        f"{key}_{name}": "; ".join(one) if isinstance(one, list) else one
        for key, value in image.items()
        if isinstance(value, Mapping)
        for name, one in value.items()
    }
    loras = "; ".join(_lora(one) for one in image["loras"])
    return {**image, **row, "loras": loras}


def _lora(lora: Mapping[str, Any]) -> str:
    version = f" version {lora['version']}" if lora["version"] else ""
    return f"{lora['name']}{version} at {lora['weight']:g} ({lora['sha256'][:10]})"
