"""Contact sheets of a model's versions: what they show unless a person says it, how they are queued and found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import config as configs
from ..errors import UserError
from ..library.job import Job, NewJob
from ..library.model import Model, Version
from ..library.models import Models
from ..library.queue import Queue
from . import drafts, publishing, review_plan, review_prompts
from .environment import Environment
from .kinds.review import ReviewOptions, planned, prompts_of
from .review_plan import Checkpoint, Place
from .settings import CONTACT_SHEET, LibrarySettings
from .submit import submit

_PLACE = "contact_sheets_place"
_REVIEWS = "reviews"
_MOST_JOBS = 200
#: keys of a sheet -> those of a training, which draws its previews so
_AS_PREVIEWS = {
    "negative_prompt": "preview_negative", "seed": "preview_seed", "steps": "preview_steps",
    "cfg_scale": "preview_cfg_scale", "sampler": "preview_sampler",
}  # fmt: skip
_TITLES = {"en": "{name}, version {number}", "zh": "{name}，版本 {number}"}


def suggestion(version: Version) -> dict[str, Any] | None:
    """The checkpoint and strength that the training suggests, with the reason; None where it suggests none."""
    found = version.facts.get("suggested")
    return found if isinstance(found, dict) and isinstance(found.get("checkpoint"), str) else None


def checkpoints(version: Version) -> list[Checkpoint]:
    """The checkpoints of a version that are there, in the order of its training."""
    return [review_plan.checkpoint(path) for path in publishing.checkpoints(version)]


def config(
    environment: Environment, models: Models, model: Model, version: Version, language: str = "en"
) -> dict[str, Any]:
    """The config of a sheet of a version: a few of its checkpoints, drawn as its previews were.

    Raises:
        UserError: none of its files is there.
    """
    every = checkpoints(version)
    if not every:
        raise UserError(f"Version {version.number}: its file {version.file} is not there; put it back.")
    suggested = suggestion(version) or {}
    name = Path(suggested.get("checkpoint", "")).name
    trained = version.facts.get("config") or {}
    base_model = str(trained.get("base_model") or "")
    as_previews = {key: trained.get(own, configs.default(own)) for key, own in _AS_PREVIEWS.items()}
    return {
        # The CFG scale may be left to the base model.
        **{key: value for key, value in as_previews.items() if value is not None},
        "base_model": base_model if base_model and Path(base_model).exists() else environment.base_model(),
        "loras": [str(one.file) for one in review_plan.few(every, suggested=name)],
        "prompts": _prompts(environment, models, model, every[-1]),
        "suggested": name,
        "suggested_strength": float(suggested.get("strength") or 0.0),
        "title": _TITLES[language].format(name=model.name, number=version.number),
        "language": language,
        "version": version.id,
        "output_dir": str(folder(models, version)),
    }


def folder(models: Models, version: Version) -> Path:
    """Where the sheets of a version and their images lie."""
    return models.home(version.model) / _REVIEWS / str(version.number)


def queue_sheet(
    queue: Queue,
    environment: Environment,
    models: Models,
    model: Model,
    version: Version,
    request: NewJob,
    language: str = "en",
) -> Job:
    """Queue a sheet of a version; the request's config says what differs from :func:`config`.

    Raises:
        NotFound: the version has no such checkpoint.
        UserError: the config cannot be used.
    """
    wanted = dict(request.config)
    if chosen := wanted.pop("checkpoints", None):
        wanted["loras"] = [str(publishing.checkpoint(version, one)) for one in chosen]
    complete = {**config(environment, models, model, version, language), **wanted}
    name = request.name or f"Review {model.name}, version {version.number}"
    return submit(queue, environment, [replace(request, config=complete, name=name, model=model.id)])[0]


def newest(queue: Queue, version: Version) -> Job | None:
    """The job of the newest sheet of a version; None where there was none."""
    page = queue.page(kind="review", model=version.model, limit=_MOST_JOBS)
    own = [job for job in page.jobs if job.config.get("version") == version.id]
    return max(own, key=lambda job: job.created, default=None)


def cells(job: Job) -> tuple[ReviewOptions, list[Place]]:
    """What a sheet shows, and where its images lie or will lie.

    Raises:
        UserError: its checkpoints are not there any more.
    """
    options = ReviewOptions(**job.config)
    options, _, places = planned(options, Path(options.output_dir))
    return options, places


def preview(queue: Queue, version: Version, checkpoint: Path, strength: float) -> Path | None:
    """The first image of the newest sheet with this checkpoint at this strength; None where none is drawn."""
    job = newest(queue, version)
    if job is None:
        return None
    try:
        _, places = cells(job)
    except UserError:
        return None
    wanted = (one.path for one in places if one.lora == checkpoint and one.strength == strength)
    return next((path for path in wanted if path.is_file()), None)


def queue_due(queue: Queue, environment: Environment, models: Models) -> None:
    """Queue the sheets of the versions that were trained since the last call, if the settings want them.

    Several processes may call it: each version is taken by one of them.

    Raises:
        UserError: a sheet cannot be queued; that of the next version is tried the next time.
    """
    database = models.database
    if not LibrarySettings(database).get(CONTACT_SHEET):
        with database.reading() as connection:
            known = connection.execute("SELECT 1 FROM settings WHERE key = ?", [_PLACE]).fetchone()
        if known:
            # What is trained meanwhile is not drawn when they are wanted again.
            with database.writing() as connection:
                connection.execute("DELETE FROM settings WHERE key = ?", [_PLACE])
        return
    for version in _due(models):
        model = models.get(version.model)
        queue_sheet(queue, environment, models, model, version, NewJob("review", {}, runner=environment.runner))


def _due(models: Models) -> list[Version]:
    """The versions that were trained since the last call; from the first call on."""
    with models.database.writing() as connection:
        row = connection.execute("SELECT value FROM settings WHERE key = ?", [_PLACE]).fetchone()
        found = models.after(int(row[0]) if row else 0)
        if row is not None and not found:
            return []
        place = str(found[-1][0] if found else 0)
        connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", [_PLACE, place])
    return [version for _, version in found if version.origin == "training"] if row is not None else []


def _prompts(environment: Environment, models: Models, model: Model, finished: Checkpoint) -> list[str]:
    """Subjects that no caption of the model's images names; by the LoRA's file where these are not there."""
    try:
        store = drafts.place(models, environment, model).open()
        captions = [store.entry(name).prompt for name in store.names]
    except UserError:
        captions = []
    if not any(captions):
        return prompts_of(finished, model.kind, model.trigger_word)
    return review_prompts.suitable(model.kind, model.trigger_word, captions)
