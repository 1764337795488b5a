"""The image folder of the form, for what is done with it before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import config as configs
from ..errors import UserError
from . import form, paths
from .task import Task

#: one task on images at a time, from whatever page
TASK = Task()


def read_fields(values: tuple[Any, ...]) -> tuple[Path, Path | None, int, str]:
    """Folder, CSV, side in pixels and trigger word of the form.

    Raises:
        UserError: no folder is named, or it may not be read.
    """
    settings = {key: form.from_field(key, value) for key, value in zip(form.KEYS, values, strict=True)}
    if not settings["train_data_dir"]:
        raise UserError("Folder with your images is empty; name it above.")
    folder = paths.readable(settings["train_data_dir"])
    metadata = paths.readable(settings["metadata_path"]) if settings["metadata_path"] else None
    return folder, metadata, min(settings["resolution"] or [_stock_side(folder)]), settings["trigger_word"]


def _stock_side(folder: Path) -> int:
    """The side that the loaded model was trained at."""
    settings = {"train_data_dir": str(folder), "base_model": "loaded", "output_dir": "unused"}
    try:
        return paths.inspection(configs.from_dict(settings | {"base_model": paths.require_checkpoint()})).resolution
    except UserError:
        return 512
