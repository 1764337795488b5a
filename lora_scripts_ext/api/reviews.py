"""Routes of reviews: contact sheets, what people decide about versions, what is published and taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from .. import json_text
from ..errors import UserError
from ..jobs import publishing, reviewing
from ..jobs.kinds.review import STRENGTHS
from ..jobs.publishing import Choice
from ..jobs.review_plan import Checkpoint, Place, few
from ..jobs.view import job_view
from ..library.job import Job, NewJob
from ..library.model import Model, Version
from ..library.models import Models
from ..library.publications import Publication, Publications
from ..library.reviews import Decision, Reviewed, Reviews
from ..time_text import iso
from . import language
from . import review_schemas as schemas
from .access import caller_of
from .idempotency import Answer
from .review_schemas import DecisionIn, PublishIn, RollBackIn, SheetIn
from .route import json_response, reads_files
from .schemas import WholeJob, given
from .service import Service
from .webhooks import announce

_TAGS = ["models"]
_VERSION = "/models/{id}/versions/{number}"


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models = Models(service.database)
    _add_sheets(router, service, models)
    _add_decisions(router, service, models)
    _add_publications(router, service, models)


def of_versions(service: Service, versions: Iterable[Version]) -> dict[str, dict[str, Any]]:
    """What is added to the view of each version, by its id: how it stands, and how it is published."""
    found = list(versions)
    states = Reviews(service.database).states([one.id for one in found])
    current = Publications(service.database).current({one.model for one in found})
    views = {}
    for one in found:
        published = current.get(one.model)
        views[one.id] = {
            "review": _state(states[one.id]),
            "published_as": _published_as(published) if published and published.version == one.id else None,
        }
    return views


def _add_sheets(router: APIRouter, service: Service, models: Models) -> None:
    @router.post(
        f"{_VERSION}/review", status_code=201, tags=_TAGS, response_model=WholeJob, summary="Queue a contact sheet"
    )
    @reads_files
    def add_sheet(id: str, number: int, request: Request, wanted: SheetIn = SheetIn()) -> Response:  # noqa: B008
        """Of a version's checkpoints at several strengths. What is drawn already is not drawn again."""
        model, version = models.get(id), models.version(id, number)
        values = {key: value for key, value in given(wanted).items() if value is not None}
        job = NewJob(
            "review", values, priority=int(values.pop("priority", 0)), after=values.pop("after", None),
            runner=service.environment.runner,
        )  # fmt: skip
        with service.database.writing():
            queued = reviewing.queue_sheet(
                service.queue, service.environment, models, model, version, job, language.of(request)
            )
            view = job_view(service.queue, queued, whole=True)
            location = f"{router.prefix}/jobs/{queued.id}"
            service.requests.keep(Answer(201, json_text.dumps(view), location))
        service.wake()
        return json_response(view, 201, {"Location": location})

    @router.get(f"{_VERSION}/review", tags=_TAGS, response_model=schemas.Sheet, summary="Look at a contact sheet")
    @reads_files
    def get_sheet(id: str, number: int) -> dict[str, Any]:
        """The newest of a version; without one, what it would show."""
        model, version = models.get(id), models.version(id, number)
        every = reviewing.checkpoints(version)
        suggested = reviewing.suggestion(version)
        job = reviewing.newest(service.queue, version)
        view = _wanted(service, models, model, version, every) if job is None else _sheet(router.prefix, job, every)
        name = Path(suggested["checkpoint"]).name if suggested else ""
        loras = view.pop("loras")
        shown = [one for one in every if str(one.file) in loras]
        return {
            **view, "checkpoints": [_checkpoint(one, name) for one in shown],
            "all_checkpoints": [_checkpoint(one, name) for one in every], "suggested": suggested,
        }  # fmt: skip


def _add_decisions(router: APIRouter, service: Service, models: Models) -> None:
    reviews = Reviews(service.database)

    @router.get(f"{_VERSION}/decisions", tags=_TAGS, response_model=schemas.Decisions, summary="List decisions")
    def list_decisions(id: str, number: int) -> dict[str, Any]:
        """What people have said about a version, the newest first."""
        return {"items": [_decision(one) for one in reviews.all(models.version(id, number).id)]}

    @router.post(
        f"{_VERSION}/decisions", status_code=201, tags=_TAGS, response_model=schemas.Decision,
        summary="Approve, reject, request a review, or comment",
    )  # fmt: skip
    @reads_files
    def add_decision(id: str, number: int, wanted: DecisionIn, request: Request) -> Response:
        """Of a version, or of one of its checkpoints, at a strength."""
        model, version = models.get(id), models.version(id, number)
        file = str(publishing.checkpoint(version, wanted.checkpoint)) if wanted.checkpoint else ""
        with service.database.writing():
            decision = reviews.add(
                version.id, wanted.verdict, checkpoint=file, strength=wanted.strength, comment=wanted.comment,
                who=_who(request, wanted.who),
            )  # fmt: skip
            view = _decision(decision)
            announce(service.database, f"review.{wanted.verdict}", {**_about(model, version), "decision": view})
            service.requests.keep(Answer(201, json_text.dumps(view), ""))
        return json_response(view, 201)


def _add_publications(router: APIRouter, service: Service, models: Models) -> None:
    publications = Publications(service.database)

    @router.post(
        f"{_VERSION}/publish", tags=_TAGS, response_model=schemas.Publication, summary="Publish a version's checkpoint"
    )
    @reads_files
    def publish(id: str, number: int, request: Request, wanted: PublishIn = PublishIn()) -> dict[str, Any]:  # noqa: B008
        """With its card, whose preferred weight is the strength, to where LoRAs are used, under the model's name."""
        model, version = models.get(id), models.version(id, number)
        file = publishing.checkpoint(version, wanted.checkpoint)
        choice = Choice(
            file, wanted.strength, reviewing.preview(service.queue, version, file, wanted.strength),
            _who(request, wanted.who), wanted.replace,
        )  # fmt: skip
        published = publishing.publish(service.database, service.environment, model, version, choice)
        view = _publication(published, {version.id: version})
        announce(service.database, "published", {**_about(model, version), "publication": view})
        return view

    @router.post(
        "/models/{id}/rollback",
        tags=_TAGS,
        response_model=schemas.RolledBack,
        summary="Put back what was published before",
    )
    @reads_files
    def roll_back(id: str, request: Request, wanted: RollBackIn = RollBackIn()) -> dict[str, Any]:  # noqa: B008
        """Byte for byte: the file, its card and its preview."""
        model = models.get(id)
        taken, current = publishing.roll_back(service.database, service.environment, model, replace=wanted.replace)
        versions = {one.id: one for one in models.versions(id)}
        view = {
            "withdrawn": _publication(next(one for one in publications.all(id) if one.seq == taken.seq), versions),
            "current": _publication(current, versions) if current is not None else None,
        }
        who = {"who": _who(request, wanted.who)}
        announce(service.database, "rolled_back", {**_about(model, versions[taken.version]), **who, **view})
        return view

    @router.get(
        "/models/{id}/publications", tags=_TAGS, response_model=schemas.Publications, summary="List what was published"
    )
    def list_publications(id: str) -> dict[str, Any]:
        """The newest first; the first that is not withdrawn counts."""
        versions = {one.id: one for one in models.versions(id)}
        return {"items": [_publication(one, versions) for one in publications.all(id)]}


def _who(request: Request, given_name: str) -> str:
    """Whose request it is: by its key, else as it says."""
    return caller_of(request).name or given_name.strip()


def _about(model: Model, version: Version) -> dict[str, Any]:
    return {"model": {"id": model.id, "name": model.name}, "version": version.number}


def _state(reviewed: Reviewed) -> dict[str, Any]:
    return {"state": reviewed.state, "by": reviewed.by, "at": iso(reviewed.at)}


def _published_as(one: Publication) -> dict[str, Any]:
    return {
        "checkpoint": one.file, "name": Path(one.file).name, "strength": one.strength, "path": one.path,
        "by": one.who, "at": iso(one.created),
    }  # fmt: skip


def _decision(one: Decision) -> dict[str, Any]:
    return {
        "id": one.id, "verdict": one.verdict, "checkpoint": one.checkpoint, "name": Path(one.checkpoint).name,
        "strength": one.strength, "comment": one.comment, "who": one.who, "at": iso(one.created),
    }  # fmt: skip


def _publication(one: Publication, versions: Mapping[str, Version]) -> dict[str, Any]:
    return {
        "seq": one.seq, "version": one.version, "number": versions[one.version].number, "checkpoint": one.file,
        "name": Path(one.file).name, "strength": one.strength, "path": one.path, "who": one.who,
        "at": iso(one.created), "withdrawn": iso(one.withdrawn),
    }  # fmt: skip


def _checkpoint(one: Checkpoint, suggested: str) -> dict[str, Any]:
    return {
        "file": str(one.file), "name": one.file.name, "step": one.step, "epoch": one.epoch, "final": one.final,
        "suggested": one.file.name == suggested,
    }  # fmt: skip


def _wanted(
    service: Service, models: Models, model: Model, version: Version, every: list[Checkpoint]
) -> dict[str, Any]:
    """What a sheet would show that is queued without any wishes."""
    try:
        config = reviewing.config(service.environment, models, model, version)
    except UserError as error:
        config = {"loras": [str(one.file) for one in few(every)], "prompts": [], "seed": 0}
        reason = str(error)
    else:
        reason = ""
    return {
        "job": None, "state": "none", "reason": reason, "progress": None, "sheet": None, "loras": config["loras"],
        "strengths": list(STRENGTHS), "prompts": config["prompts"], "seed": config["seed"], "width": 0, "height": 0,
        "cells": [],
    }  # fmt: skip


def _sheet(prefix: str, job: Job, every: list[Checkpoint]) -> dict[str, Any]:
    config = job.config
    try:
        options, places = reviewing.cells(job)
    except UserError as error:
        # Some of its checkpoints have been deleted.
        places, reason = [], str(error)
    else:
        config, reason = {**config, "prompts": options.prompts}, job.reason
    views = [_cell(prefix, job, place) for place in places]
    drawn = sum(view["image"] is not None for view in views)
    sheet = Path(job.output_dir) / Path(job.result["sheet"]).name if job.result.get("sheet") else None
    return {
        "job": job.id, "state": job.state, "reason": reason,
        "progress": {"done": drawn, "total": len(views)} if views else None,
        "sheet": _address(prefix, job, sheet), "loras": config["loras"], "strengths": config["strengths"],
        "prompts": config["prompts"], "seed": config["seed"], "width": config["width"], "height": config["height"],
        "cells": views,
    }  # fmt: skip


def _cell(prefix: str, job: Job, place: Place) -> dict[str, Any]:
    parameters = _parameters(place.path)
    return {
        "checkpoint": str(place.lora) if place.lora is not None else None, "strength": place.strength,
        "prompt": place.prompt, "seed": (job.config["seed"] + place.index) % 2**32,
        "image": _address(prefix, job, place.path if parameters is not None else None), "parameters": parameters or "",
    }  # fmt: skip


def _parameters(path: Path) -> str | None:
    """How an image was made; None where it is not drawn yet."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("parameters", ""))
    except OSError:
        return None


def _address(prefix: str, job: Job, path: Path | None) -> str | None:
    return f"{prefix}/jobs/{job.id}/files/{quote(path.name)}" if path is not None and path.is_file() else None
