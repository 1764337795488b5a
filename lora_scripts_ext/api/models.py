"""Routes of models: their names, drafts and versions, and the jobs that work for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from .. import json_text, time_text
from ..captions import trigger_word
from ..captions.history import Place
from ..errors import NotFound, UserError
from ..files import pasted_path
from ..images.edit import UNEDITED, Edit
from ..jobs import drafts, of_model, published_files
from ..jobs.view import job_view
from ..library.job import Job, NewJob
from ..library.model import Model, State, Version
from ..library.models import Models
from ..preparation.listing import listing
from ..time_text import iso
from . import model_schemas as schemas
from . import reviews
from .configs import estimated
from .files import send
from .idempotency import Answer
from .model_schemas import ModelChangeIn, ModelIn, ModelJobIn
from .route import json_response, reads_files
from .schemas import Estimate, WholeJob, given
from .service import Service

_TAGS = ["models"]
_JOBS: dict[str, tuple[Callable[..., Job], str]] = {
    "train": (of_model.train, "Queue a training of a model"),
    "caption": (of_model.caption, "Queue captioning a model's images"),
    "check": (of_model.check, "Queue a check of a model's images"),
    "prepare": (of_model.prepare, "Queue making copies that are ready to train on"),
}


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models = Models(service.database)
    _add_collection(router, service, models)
    _add_one(router, service, models)
    _add_versions(router, service, models)
    for kind, (function, summary) in _JOBS.items():
        _add_job(router, service, models, kind, function, summary)

    @router.get(
        "/trigger-word", tags=["models"], response_model=schemas.TriggerWord, summary="Suggest or check a trigger word"
    )
    @reads_files
    def get_trigger_word(
        name: str = Query("", max_length=300, description="Of a model, to suggest a word for."),
        word: str = Query("", max_length=300, description="To be checked instead."),
        model: str = Query("", max_length=64, description="Whose own word does not count as used."),
    ) -> dict[str, Any]:
        used = models.trigger_words(but=model)
        found = trigger_word.looked_up(word.strip() or trigger_word.suggested(name, used))
        return {**asdict(found), "used": found.word.casefold() in used}


def _add_collection(router: APIRouter, service: Service, models: Models) -> None:
    @router.post("/models", status_code=201, tags=_TAGS, response_model=schemas.WholeModel, summary="Make a model")
    @reads_files
    def add_model(new: ModelIn) -> Response:
        drafts.check_draft(new.config)
        folder = _folder(service, new.folder)
        if folder:
            # Many images are read before the transaction, and remembered.
            with contextlib.suppress(UserError):
                listing(Place(Path(folder)), new.trigger_word)
        with service.database.writing():
            model = models.create(
                new.name, new.kind, trigger_word=new.trigger_word, folder=folder, config=new.config, tags=new.tags
            )
            view = whole_model(service, router.prefix, models, model)
            location = f"{router.prefix}/models/{model.id}"
            service.requests.keep(Answer(201, json_text.dumps(view), location))
        return json_response(view, 201, {"Location": location})

    @router.get("/models", tags=_TAGS, response_model=schemas.ModelPage, summary="List models")
    @reads_files
    def list_models(
        search: str = Query("", max_length=300, description="Words in name, trigger word, tags, kind or base model."),
        kind: str = Query("", max_length=40),
        tag: str = Query("", max_length=100),
        retired: str = Query("false", max_length=5, description="`true`: only retired ones; `all`: these, too."),
        review: str = Query(
            "",
            max_length=20,
            description="Only those whose newest version was last `requested`, `approved`, `rejected`, or `none`.",
        ),
        state: str = Query("", max_length=40, description="Only those whose `state.standing` is this."),
        limit: int = Query(50, ge=1, le=service.limits.page),
        cursor: str = Query("", max_length=100, description="`next` of the page before."),
    ) -> dict[str, Any]:
        with service.database.reading():
            page = models.page(
                search=search, kind=kind, tag=tag, standing=state, review=review, retired=_retired(retired),
                limit=limit, cursor=cursor,
            )  # fmt: skip
            states = models.states(page.models)
        items = [_view(service, router.prefix, models, model, states[model.id]) for model in page.models]
        return {"items": items, "total": page.total, "next": page.next}


def _add_one(router: APIRouter, service: Service, models: Models) -> None:
    @router.get("/models/{id}", tags=_TAGS, response_model=schemas.WholeModel, summary="Look at a model")
    @reads_files
    def get_model(id: str) -> dict[str, Any]:
        return whole_model(service, router.prefix, models, models.get(id))

    @router.get(
        "/models/{id}/estimate", tags=_TAGS, response_model=Estimate, summary="What training a model would take"
    )
    @reads_files
    def estimate_model(id: str) -> dict[str, Any]:
        """With its draft as it is; nothing is trained."""
        model = models.get(id)
        images = of_model.included(service.environment, models, model)
        config = drafts.training_config(models, model, images=images)
        return estimated(service, {**config, "output_dir": str(models.home(model.id) / "runs" / "estimate")})

    @router.patch("/models/{id}", tags=_TAGS, response_model=schemas.WholeModel, summary="Change a model or its draft")
    @reads_files
    def change_model(id: str, change: ModelChangeIn) -> dict[str, Any]:
        """A draft may be incomplete or wrong: `problem` says so, and it is kept."""
        fields = {name: value for name, value in given(change).items() if value is not None}
        drafts.check_draft(fields.get("config", {}))
        if "folder" in fields:
            fields["folder"] = _folder(service, fields["folder"])
        models.check(**fields)
        if "name" in fields:
            published_files.rename(models, service.environment, id, fields.pop("name"))
        return whole_model(service, router.prefix, models, models.change(id, **fields) if fields else models.get(id))

    @router.delete("/models/{id}", status_code=204, tags=_TAGS, summary="Forget a model")
    def delete_model(
        id: str, trash: bool = Query(False, description="Move its files into the data folder's trash.")
    ) -> Response:
        """Without `trash` its files stay where they are."""
        models.delete(id, trash=trash)
        return Response(status_code=204)


def _add_versions(router: APIRouter, service: Service, models: Models) -> None:
    @router.get("/models/{id}/versions", tags=_TAGS, response_model=schemas.Versions, summary="List versions")
    def list_versions(id: str) -> dict[str, Any]:
        versions = models.versions(id)
        more = reviews.of_versions(service, versions)
        return {"items": [_version(router.prefix, version, more[version.id]) for version in versions]}

    @router.get(
        "/models/{id}/versions/{number}", tags=_TAGS, response_model=schemas.Version, summary="Look at a version"
    )
    def get_version(id: str, number: int) -> dict[str, Any]:
        version = models.version(id, number)
        return _version(router.prefix, version, reviews.of_versions(service, [version])[version.id])

    @router.get(
        "/models/{id}/versions/{number}/file", tags=_TAGS, summary="Fetch a version's LoRA", response_class=Response
    )
    async def get_lora(id: str, number: int, request: Request) -> Response:
        """A range of bytes can be asked for."""
        version = await service.threads.run(models.version, id, number)
        try:
            return await send(service.threads, Path(version.file), "application/octet-stream", request.headers)
        except FileNotFoundError as error:
            raise NotFound(f"Version {number}: its file is not there any more; `library check` lists all.") from error


def _add_job(
    router: APIRouter, service: Service, models: Models, kind: str, function: Callable[..., Job], summary: str
) -> None:
    def queue_job(id: str, wanted: ModelJobIn = ModelJobIn()) -> Response:  # noqa: B008 - it is not changed
        model = models.get(id)
        request = _submission(service, kind, wanted)
        if kind in ("check", "prepare"):
            request = of_model.with_resolution(service.environment, models, model, request)
        with service.database.writing():
            job = function(service.queue, service.environment, models, model, request)
            view = job_view(service.queue, job, whole=True)
            location = f"{router.prefix}/jobs/{job.id}"
            service.requests.keep(Answer(201, json_text.dumps(view), location))
        service.wake()
        return json_response(view, 201, {"Location": location})

    queue_job.__name__ = f"{kind}_model"
    reads_files(queue_job)
    router.post(f"/models/{{id}}/{kind}", status_code=201, tags=_TAGS, response_model=WholeJob, summary=summary)(
        queue_job
    )


def _submission(service: Service, kind: str, wanted: ModelJobIn) -> NewJob:
    not_before = None if wanted.not_before is None else time_text.seconds(wanted.not_before, "not_before")
    return NewJob(
        kind, wanted.config, name=wanted.name.strip(), runner=service.environment.runner, after=wanted.after,
        priority=wanted.priority or 0, not_before=not_before, window=wanted.window or "",
    )  # fmt: skip


def _retired(text: str) -> bool | None:
    wanted: dict[str, bool | None] = {"false": False, "true": True, "all": None}
    if text not in wanted:
        raise UserError(f"retired: {text!r} is none of {', '.join(wanted)}.")
    return wanted[text]


def _folder(service: Service, folder: str) -> str:
    """The folder of a model's images as it is kept.

    Raises:
        UserError: it may not be read, or is none.
    """
    folder = pasted_path(folder)
    if not folder:
        return ""
    path = service.environment.readable(folder)
    if not path.is_dir():
        raise UserError(f"folder: there is no folder {path}; check the path.")
    return str(path)


def whole_model(service: Service, prefix: str, models: Models, model: Model) -> dict[str, Any]:
    """A model with its images counted, ready for JSON."""
    view = _view(service, prefix, models, model, models.states([model])[model.id])
    try:
        counts = listing(drafts.place(models, service.environment, model), model.trigger_word).counts()
        problem = of_model.problem(models, service.environment, model)
    except UserError as error:
        counts, problem = None, str(error)
    in_the_way = of_model.replaced(service.environment, model, view["state"]["versions"])
    count, last = models.use(model.id)
    use = {"count": count, "last": iso(last)}
    return {**view, "counts": counts, "problem": problem, "in_the_way": in_the_way, "use": use}


def _view(service: Service, prefix: str, models: Models, model: Model, state: State) -> dict[str, Any]:
    """The model ready for JSON, times in ISO 8601 (UTC)."""
    covers = of_model.covers(models, service.environment, model)
    return {
        **vars(model), "created": iso(model.created), "changed": iso(model.changed), "retired": iso(model.retired),
        "state": {
            "standing": state.standing, "share": state.share, "reason": state.reason, "job": state.job,
            "versions": state.versions, "review": state.review,
        },
        "covers": [thumbnail_address(prefix, model.id, name, edit) for name, edit in covers],
    }  # fmt: skip


def image_address(prefix: str, model: str, name: str) -> str:
    """Where an image can be fetched."""
    return f"{prefix}/models/{model}/images/{quote(name)}"


def thumbnail_address(prefix: str, model: str, name: str, edit: Edit) -> str:
    """Where an image can be fetched small and edited: another address after each edit, so that no cache is stale."""
    edited = "" if edit == UNEDITED else f"&edit={edit.key()}"
    return f"{image_address(prefix, model, name)}?size=320{edited}"


def _version(prefix: str, version: Version, more: dict[str, Any]) -> dict[str, Any]:
    address = f"{prefix}/models/{version.model}/versions/{version.number}/file"
    view: dict[str, Any] = json_text.finite(
        {**vars(version), **more, "created": iso(version.created), "address": address}
    )
    return view
