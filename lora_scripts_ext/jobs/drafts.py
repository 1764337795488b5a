"""A model's settings as those of a training, and where its images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import presets
from ..captions.history import Place
from ..errors import Conflict, UserError
from ..library.model import Model
from ..library.models import Models
from .environment import Environment

#: keys of a training that come from the model itself, so that a draft cannot set them
OF_THE_MODEL = ("train_data_dir", "output_dir", "output_name", "trigger_word")


def check_draft(config: dict[str, Any]) -> None:
    """Refuse a draft that sets what comes from the model.

    Raises:
        UserError: it does.
    """
    if own := [key for key in OF_THE_MODEL if key in config]:
        raise UserError(f"config: {own[0]} comes from the model; take it out, or change the model.")


def training_config(
    models: Models, model: Model, changes: dict[str, Any] | None = None, images: int | None = None
) -> dict[str, Any]:
    """The keys of a training of ``model``, without ``output_dir``: its kind's preset, its draft, then ``changes``.

    ``images``: how many it is trained on, which the preset is scaled to; None leaves the preset as it is.
    """
    return {
        **presets.values(presets.title(model.kind), images),
        **model.config,
        **(changes or {}),
        "train_data_dir": str(models.images(model)),
        "trigger_word": model.trigger_word,
        "output_name": model.name,
    }


def require_in_use(model: Model) -> None:
    """Refuse work for a model that is retired.

    Raises:
        Conflict: it is.
    """
    if model.retired is not None:
        raise Conflict(f"{model.name}: this model is retired; restore it first.")


def place(models: Models, environment: Environment, model: Model) -> Place:
    """The folder of the model's images, and where their captions are.

    Raises:
        UserError: it may not be read.
    """
    images = images_folder(models, environment, model)
    metadata = str(model.config.get("metadata_path") or "")
    encoding = str(model.config.get("caption_encoding") or "")
    return Place(images, environment.readable(metadata) if metadata else None, encoding)


def images_folder(models: Models, environment: Environment, model: Model) -> Path:
    """The folder of the model's images; one in the data folder is made if it is missing.

    Raises:
        UserError: it may not be read.
    """
    images = models.images(model)
    if model.folder:
        return environment.readable(model.folder)
    images.mkdir(parents=True, exist_ok=True)
    return images
