"""The folder of pictures that the form names, for what is done with it before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import config as configs
from ..errors import UserError
from . import form, paths
from .task import Task

#: one piece of work on pictures at a time, whoever asks
TASK = Task()


def asked(values: tuple[Any, ...]) -> tuple[Path, Path | None, int, str]:
    """Folder, CSV, side in pixels and trigger word of the form.

    Raises:
        UserError: no folder is named, or it may not be read.
    """
    told = {key: form.from_field(key, value) for key, value in zip(form.KEYS, values, strict=True)}
    if not told["train_data_dir"]:
        raise UserError("Folder with your pictures is empty; name it above.")
    folder = paths.readable(told["train_data_dir"])
    metadata = paths.readable(told["metadata_path"]) if told["metadata_path"] else None
    return folder, metadata, min(told["resolution"] or [_stock_side(folder)]), told["trigger_word"]


def _stock_side(folder: Path) -> int:
    """The side that the loaded model was trained at."""
    told = {"train_data_dir": str(folder), "base_model": "loaded", "output_dir": "unused"}
    try:
        return paths.inspection(configs.from_dict(told | {"base_model": paths.require_checkpoint()})).resolution
    except UserError:
        return 512
