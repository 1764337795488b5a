"""How the new images of a model are watched and trained on: the keys of a watch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .. import config as configs
from ..errors import UserError
from ..library import hour
from ..library.model import Model
from ..library.models import Models
from . import service_file
from .drafts import check_draft, training_config
from .environment import Environment
from .kinds.options import option, read


@dataclass(frozen=True)
class WatchOptions:
    """The keys of a watch."""

    folder: str = option("", "Folder that new images arrive in; empty takes the model's own.")
    hour: str = option("02:00", "Time of day at which the new images are trained on.")
    fetch: str = option("", "Name of a command in service.yaml that brings new images; it is run at its own hour.")
    settle_seconds: float = option(60.0, "Seconds that a file must stay the same before it is taken.", low=0, high=3600)
    new_images: int = option(4, "Fewer new images than this wait for more.", low=1, high=100_000)
    captioner: str = option("auto", "Captioner of images without a caption; auto takes blip, else the file names.")
    caption_model: str = option("", "Folder or hub name of the captioner's model; empty takes the usual one.")
    endpoint: str = option("", "URL of an OpenAI-compatible service, for the captioner endpoint.")
    key_from: str = option("", "Environment variable that holds the key of the service.")
    steps: int = option(0, "Steps of a version that continues from the last; 0 takes those of the model.", low=0)
    train: dict[str, Any] = option({}, "Further keys of the training that differ from the model's.")


def checked(
    values: dict[str, Any], models: Models, environment: Environment, model: Model, where: str = "config"
) -> dict[str, Any]:
    """The complete keys of a watch of ``model``; the folder is absolute.

    Raises:
        UserError: one of them cannot be used.
    """
    from ..captioning.choose import NAMES

    options = read(WatchOptions, values, where)
    if options.captioner not in NAMES:
        raise UserError(f"{where}: captioner is {options.captioner!r}, expected one of {', '.join(NAMES)}.")
    folder = environment.readable(options.folder) if options.folder else models.images(model)
    if options.folder and not folder.is_dir():
        raise UserError(f"{where}: folder {folder} is not there; make it, or correct the path.")
    if not options.folder and not model.folder:
        raise UserError(f"{where}: folder is missing; name the folder that new images arrive in.")
    if model.folder and folder.resolve() != models.images(model).resolve():
        raise UserError(
            f"{where}: folder is {folder}, but the images of {model.name} lie in {model.folder}, where nothing is "
            "written; leave it empty, or let the model have its own folder."
        )
    if options.fetch and options.fetch not in service_file.load(environment.data_dir).fetch:
        path = environment.data_dir / service_file.NAME
        raise UserError(f"{where}: fetch is {options.fetch!r}, which is not in {path}; write it there below fetch.")
    check_draft(options.train)
    # The model's own may still lack things, such as the base model of a WebUI: that is said when it is trained.
    draft = {"base_model": "any", **training_config(models, model, options.train), "output_dir": "any"}
    configs.from_dict(draft, f"{where}: train")
    return {
        **asdict(options),
        "folder": str(folder),
        "hour": hour.tidy(options.hour, f"{where}: hour"),
        "endpoint": environment.endpoint(options.endpoint, options.key_from) if options.endpoint else "",
    }
