"""What is done with a model of the library: images taken in, jobs that caption, check, prepare and train."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import config as configs
from ..errors import NotFound, Refused, UserError
from ..images import edited
from ..images import folder as folders
from ..images.edit import UNEDITED, Edit
from ..images.exclusive import changing
from ..images.kinds import EXTENSIONS
from ..images.skipped import Skipped
from ..library.job import Job, NewJob
from ..library.model import Model
from ..library.models import RUNS, Models
from ..library.queue import Queue
from ..preparation import listing as listings
from ..preparation import upload
from ..preparation.archive import Unpacked
from .drafts import check_draft, images_folder, place, require_in_use, training_config
from .environment import Environment
from .kinds import registry
from .submit import submit

_MOST_RUNS = 100_000
_COVERS, _COVER_FOLDERS = 4, 10


def problem(models: Models, environment: Environment, model: Model) -> str:
    """Why the model cannot be trained with its draft, as a sentence; empty where it can.

    Images are not looked at.
    """
    try:
        registry.by_name("train").plan(_probe(models, model), environment, "config")
    except UserError as error:
        return str(error)
    return ""


def replaced(environment: Environment, model: Model, versions: int) -> str:
    """The LoRA of the model's name that is in the way of its first version, as a path; empty where there is none.

    It is renamed when the model's own is published (``training.publication``).
    """
    folder = environment.lora_dir()
    if folder is None or versions:
        return ""
    file = folder / f"{model.name}.safetensors"
    return str(file) if file.is_file() else ""


def included(environment: Environment, models: Models, model: Model) -> int:
    """How many images the model is trained on.

    Raises:
        UserError: its folder cannot be read.
    """
    return listings.listing(place(models, environment, model), model.trigger_word).counts()["included"]


def covers(models: Models, environment: Environment, model: Model) -> list[tuple[str, Edit]]:
    """Images for the model's card, with their edits: the first four right in its folder, else in its first sub-folder
    that has any."""
    try:
        folder = environment.readable(model.folder) if model.folder else models.images(model)
        images, subfolders = _first_images(folder)
        for name in sorted(subfolders)[:_COVER_FOLDERS] if not images else []:
            images = [f"{name}/{one}" for one in _first_images(folder / name)[0]]
            if images:
                break
        edits = edited.read(folder)
    except (OSError, UserError):
        return []
    return [(name, edits.get(name, UNEDITED)) for name in images]


def _first_images(folder: Path) -> tuple[list[str], list[str]]:
    """The names of a few images right in a folder, and of its sub-folders."""
    with os.scandir(folder) as entries:
        shown = [one for one in entries if not one.name.startswith(".")]
        subfolders = [one.name for one in shown if one.is_dir(follow_symlinks=False)]
    images = (one.name for one in shown if Path(one.name).suffix.lower() in EXTENSIONS)
    return heapq.nsmallest(_COVERS, images), subfolders


def image_file(folder: Path, name: str) -> Path:
    """The file of an image by its name in ``folder``.

    Raises:
        NotFound: there is none, or it does not lie in the folder.
    """
    path = folders.inside(folder, name)
    if path is None:
        raise NotFound(f"There is no image {name[:200]!r} in this folder; reload the list.")
    return path


def require_own_folder(model: Model) -> None:
    """Refuse files for a model whose images lie in a folder of the server's.

    Raises:
        Refused: they do.
    """
    if model.folder:
        raise Refused(
            f"{model.name}: its images lie in a folder of the server, where nothing is written; put the files there, "
            "or let the model have its own folder."
        )


def take_in(models: Models, environment: Environment, model: Model, file: Path) -> Unpacked:
    """Import a file that was sent, an image, a caption file or a zip of them, into the model's folder.

    Raises:
        UserError: nothing in it can be taken.
        Refused: the model's images lie in a folder of the server's.
    """
    require_own_folder(model)
    folder = images_folder(models, environment, model)
    try:
        with changing(folder, "import"):
            taken = upload.import_files([file], folder, progress=lambda done, total, what: None, check=lambda: None)
    except UserError as error:
        # Where it lies for the moment means nothing to who has sent it.
        raise type(error)(str(error).replace(str(file), file.name)) from error
    if not taken.names:
        first = taken.skipped[0] if taken.skipped else Skipped(file.name, "is empty")
        raise UserError(f"{first.name} {first.reason}. Nothing was taken in.")
    return taken


def with_resolution(environment: Environment, models: Models, model: Model, request: NewJob) -> NewJob:
    """The request with the side that the model is trained at, for a check or a preparation that names none.

    The base model is looked at, unless the draft says it.
    """
    if "resolution" in request.config:
        return request
    wanted = model.config.get("resolution")
    side = max(wanted) if isinstance(wanted, list) and wanted else wanted
    if not isinstance(side, int):
        try:
            plan = registry.by_name("train").plan(_probe(models, model), environment, "config")
            side = environment.inspection(configs.from_dict(plan.config)).resolution
        except UserError:
            # What is wrong with the base model is said when it is trained on.
            return request
    return replace(request, config={**request.config, "resolution": side})


def train(queue: Queue, environment: Environment, models: Models, model: Model, request: NewJob) -> Job:
    """Queue a training of ``model`` as ``request`` says, whose config are changes to the draft.

    Every training has a folder of its own beside the model's images, so that versions do not replace each other.

    Raises:
        UserError: the config cannot be used.
    """
    require_in_use(model)
    check_draft(request.config)
    config = training_config(models, model, request.config, included(environment, models, model))
    config["train_data_dir"] = str(images_folder(models, environment, model))
    with new_run(models.home(model.id)) as output_dir:
        config["output_dir"] = str(output_dir)
        return submit(queue, environment, [_of(model, request, "train", config)])[0]


def corrected(environment: Environment, models: Models, job: Job) -> dict[str, Any]:
    """The config of a training that has ended, with the settings that its model has by now.

    Raises:
        UserError: it is no training of a model.
    """
    if job.kind != "train" or job.model is None:
        raise UserError(f"draft: {job.name} is no training of a model; send config instead.")
    model = models.get(job.model)
    config = training_config(models, model, images=included(environment, models, model))
    images = str(images_folder(models, environment, model))
    return {**config, "train_data_dir": images, "output_dir": job.output_dir}


def caption(queue: Queue, environment: Environment, models: Models, model: Model, request: NewJob) -> Job:
    """Queue captioning the model's images; the config has the captioner and what to overwrite.

    Raises:
        UserError: the config cannot be used.
    """
    # Without the trigger word, which training puts in front.
    config = _with_place(models, environment, model, request)
    return submit(queue, environment, [_of(model, request, "caption", config)])[0]


def check(queue: Queue, environment: Environment, models: Models, model: Model, request: NewJob) -> Job:
    """Queue a check of the model's images.

    Raises:
        UserError: the config cannot be used.
    """
    config = {"trigger_word": model.trigger_word, **_with_place(models, environment, model, request)}
    return submit(queue, environment, [_of(model, request, "check", config)])[0]


def prepare(queue: Queue, environment: Environment, models: Models, model: Model, request: NewJob) -> Job:
    """Queue making copies of the model's images that are ready to train on, in a new folder beside them.

    Raises:
        UserError: the config cannot be used.
    """
    config = {**request.config, "input": str(images_folder(models, environment, model))}
    if encoding := model.config.get("caption_encoding"):
        config.setdefault("caption_encoding", encoding)
    with new_run(models.home(model.id), "prepared") as output_dir:
        config["output_dir"] = str(output_dir)
        return submit(queue, environment, [_of(model, request, "prepare", config)])[0]


def _probe(models: Models, model: Model) -> dict[str, Any]:
    """A training's config to look at, with a folder that is not made."""
    return {**training_config(models, model), "output_dir": str(models.home(model.id) / RUNS / "0")}


def _with_place(models: Models, environment: Environment, model: Model, request: NewJob) -> dict[str, Any]:
    where = place(models, environment, model)
    return {
        **request.config,
        "train_data_dir": str(where.folder),
        "metadata_path": str(where.metadata or ""),
        "caption_encoding": where.encoding,
    }


def _of(model: Model, request: NewJob, kind: str, config: dict[str, Any]) -> NewJob:
    name = request.name or (model.name if kind == "train" else f"{kind.capitalize()} {model.name}")
    return replace(request, kind=kind, config=config, name=name, model=model.id)


@contextmanager
def new_run(home: Path, kind: str = RUNS) -> Iterator[Path]:
    """A new folder for a job of the model; removed again if the job cannot be queued."""
    parent = home / kind
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name) for path in parent.iterdir() if path.name.isascii() and path.name.isdigit()]
    for number in range(max(taken, default=0) + 1, _MOST_RUNS):
        # Made here, so that no other request takes the same.
        with contextlib.suppress(FileExistsError):
            (parent / str(number)).mkdir()
            break
    folder = parent / str(number)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
