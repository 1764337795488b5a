"""At what size an image of a model is trained on, and which part of it: what a page shows over the image."""

from __future__ import annotations

import functools
import threading
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass

import yaml

from .. import config as configs
from .. import config_names
from ..config import Config
from ..errors import UserError
from ..images import bucket
from ..images.bucket import Grid, Size
from ..images.edit import Shares
from ..library.model import Model
from ..library.models import Models
from .drafts import training_config
from .environment import Environment

# Of every family; a model of another factor would only have other steps between its buckets.
_VAE_FACTOR = 8
_DECIMALS = 6
_BASE_MODELS = 32
_MODELS = 32
_SIZES = 20_000
_PATIENCE_SECONDS = 0.3
_KEYS = (
    "base_model", "vae", "model_family", "prediction_type", "resolution", "enable_bucket", "bucket_step",
    "min_bucket_side", "max_bucket_side", "bucket_no_upscale", "crop", "crop_variants", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class TrainedPart:
    """The bucket of an image, in pixels, and the part that its crop leaves, as shares of the edited image.

    With random crops it is the first of them.
    """

    size: Size
    crop: Shares


class TrainedParts:
    """The buckets of a model as its settings are now."""

    def __init__(self, config: Config, grid: Grid) -> None:
        self._config = config
        self._grid = grid
        # Photos of one camera have one size.
        self._choose = functools.lru_cache(_SIZES)(grid.choose)

    def of(self, name: str, size: Size) -> TrainedPart:
        """What is trained on of an image of this size, edited."""
        chosen = self._choose(size)
        width, height = bucket.cover(size, chosen)
        view = bucket.views(self._config, name, (width, height), chosen)[0]
        right, bottom = view.left + chosen[0], view.top + chosen[1]
        shares = view.left / width, view.top / height, right / width, bottom / height
        left, top, right_share, bottom_share = (round(share, _DECIMALS) for share in shares)
        return TrainedPart(chosen, (left, top, right_share, bottom_share))


def of_model(models: Models, environment: Environment, model: Model) -> TrainedParts | None:
    """The buckets of ``model``; None where its settings are wrong, or its base model is not known (yet)."""
    try:
        values, _ = config_names.translated(training_config(models, model), "config")
        needed = {key: values[key] for key in _KEYS if values.get(key) is not None}
        # Of a draft that is wrong elsewhere the images are still trained on like this.
        places = {"train_data_dir": "images", "output_dir": "output", "base_model": environment.base_model() or "any"}
        config = configs.from_dict({**places, **needed})
        return _parts(config.to_yaml(), *(_facts(environment, config) or (0, _VAE_FACTOR)))
    except UserError:
        return None


@functools.lru_cache(_MODELS)
def _parts(settings: str, side: int, factor: int) -> TrainedParts | None:
    """Of these settings, as YAML; remembered, with what they have chosen for sizes so far."""
    config = configs.from_dict(yaml.safe_load(settings))
    if not side and not config.resolution:
        return None
    return TrainedParts(config, bucket.grid(config, config.sides(side), factor))


_Facts = tuple[int, int]
_KNOWN: dict[tuple[object, ...], Future[_Facts]] = {}
_LOCK = threading.Lock()


def _facts(environment: Environment, config: Config) -> _Facts | None:
    """The side of the base model and the pixels of its latent cells, from its header.

    None while it is being read: what does that takes seconds to be imported, which no list of images waits for.
    """
    try:
        files = [environment.readable(path) for path in (config.base_model, config.vae) if path]
        stamps = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
        key = (*stamps, config.model_family, config.prediction_type)
        with _LOCK:
            future = _KNOWN.get(key)
            if future is None:
                if len(_KNOWN) >= _BASE_MODELS:
                    _KNOWN.clear()
                future = _KNOWN[key] = Future()
                threading.Thread(target=_read, args=(config, future), daemon=True).start()
        return future.result(_PATIENCE_SECONDS)
    except (OSError, UserError, futures.TimeoutError):
        return None


def _read(config: Config, found: Future[_Facts]) -> None:
    try:
        from ..base_models.checkpoint import read_checkpoint

        checkpoint = read_checkpoint(config)
        found.set_result((checkpoint.resolution(checkpoint.prediction_type), checkpoint.vae_factor))
    except Exception as error:  # noqa: BLE001 - whatever it is, without the facts the list is still a list
        found.set_exception(UserError(str(error)))
