"""All settings of a model as a config file that ``train.py`` takes, and such a file as the model's draft."""

from __future__ import annotations

from typing import Any

import yaml

from .. import config as configs
from .. import presets
from ..config import Config
from ..config_check import PATHS
from ..errors import UserError
from ..library.model import Model
from ..library.models import Models
from . import of_model
from .drafts import OF_THE_MODEL, training_config
from .environment import Environment
from .kinds import registry

#: how errors call the text: as they do what is sent as JSON, so that the key is found in them
_WHERE = "config"
_ANY = "any"


def to_yaml(models: Models, environment: Environment, model: Model) -> str:
    """The config that a training of the model would have now, in a folder of its own in the data folder.

    Raises:
        UserError: it could not be trained.
    """
    images = of_model.included(environment, models, model)
    plan = registry.by_name("train").plan(training_config(models, model, images=images), environment, _WHERE)
    return yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True)


def from_yaml(models: Models, environment: Environment, model: Model, text: str) -> tuple[dict[str, Any], list[str]]:
    """The draft with which the model is trained as a config file says, and what to know about it.

    As in ``train.py``, what the file does not say has its default, also where the model's preset says otherwise. Other
    trainers' keys are translated. What comes from the model itself stays as it is there.

    Raises:
        UserError: the file is wrong, or names a path that may not be read.
    """
    values, notes = configs.read_text(text, _WHERE)
    own = {"trigger_word": model.trigger_word, "output_name": model.name}
    for key, known in own.items():
        if values.get(key) not in (None, "", known):
            notes.append(f"{key}: the file's is not taken over; the model's stays.")
    values |= {**own, "train_data_dir": str(models.images(model)), "output_dir": str(models.home(model.id))}
    for key in PATHS:
        if key not in OF_THE_MODEL and isinstance(values.get(key), str) and values[key]:
            values[key] = _readable(environment, key, values[key])
    base_model = values.pop("base_model", "")
    config = configs.from_dict({"base_model": base_model or _ANY, **values}, _WHERE, notes)
    draft = _differences(config, presets.values(presets.title(model.kind), _images(models, environment, model)))
    # Left out where it is that of trainings that name none.
    if base_model and base_model != environment.base_model():
        draft["base_model"] = base_model
    return draft, list(config.notes)


def _images(models: Models, environment: Environment, model: Model) -> int | None:
    """How many images the preset is scaled to; None where that cannot be known yet."""
    try:
        return of_model.included(environment, models, model) or None
    except UserError:
        return None


def _readable(environment: Environment, key: str, path: str) -> str:
    if key == "base_model" and path == environment.base_model():
        return path
    try:
        return str(environment.readable(path))
    except UserError as error:
        raise type(error)(f"{_WHERE}: {key} is {path[:200]}; {error}") from error


def _differences(config: Config, preset: dict[str, Any]) -> dict[str, Any]:
    """The keys whose value is another than with the preset alone."""
    # The optimizer has its own learning rate and others, which follow it without being in the draft.
    same = {key: getattr(config, key) for key in ("optimizer", "base_model", *OF_THE_MODEL)}
    usual = {**configs.from_dict({**preset, **same}, _WHERE).to_dict(), "optimizer": preset["optimizer"]}
    return {key: value for key, value in config.to_dict().items() if value != usual[key] and key not in OF_THE_MODEL}
