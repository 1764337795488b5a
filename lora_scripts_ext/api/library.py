"""Routes of what is done with LoRAs that are there: imported, merged, resized, renamed, retired and brought back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from .. import json_text, time_text
from ..jobs import of_library, published_files
from ..jobs.of_library import Part
from ..jobs.submit import submit
from ..jobs.view import job_view
from ..library.job import Job, NewJob
from ..library.models import Models
from . import model_schemas as schemas
from .idempotency import Answer
from .model_schemas import ImportIn, IntoCheckpointIn, LibraryJobIn, MergeIn, RenameIn, ResizeIn
from .models import whole_model
from .route import json_response, reads_files
from .schemas import WholeJob
from .service import Service

_TAGS = ["models"]


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models = Models(service.database)
    _add_collection(router, service, models)
    _add_versions(router, service, models)
    _add_places(router, service, models)


def _add_collection(router: APIRouter, service: Service, models: Models) -> None:
    @router.post(
        "/models/import", status_code=201, tags=_TAGS, response_model=WholeJob, summary="List LoRA files that are there"
    )
    @reads_files
    def import_loras(wanted: ImportIn = ImportIn()) -> Response:  # noqa: B008 - it is not changed
        """Files are neither moved nor changed, and none is listed twice, whatever its name."""
        config = {"folder": wanted.folder, "kind": wanted.kind or "", "tags": wanted.tags}
        with service.database.writing():
            request = _request(service, "import", wanted, config)
            return _queued(router, service, submit(service.queue, service.environment, [request])[0])

    @router.post(
        "/models/merge", status_code=201, tags=_TAGS, response_model=WholeJob, summary="Merge LoRAs to a new model"
    )
    @reads_files
    def merge_loras(wanted: MergeIn) -> Response:
        """`model` of the job is the new model, whose first version the job makes."""
        parts = [Part(one.weight, one.model, one.version, one.file) for one in wanted.parts]
        request = _request(service, "merge", wanted, {"rank": wanted.rank, "precision": wanted.precision})
        with service.database.writing():
            _, job = of_library.merge(
                service.queue, service.environment, models, request, parts, name=wanted.name, kind=wanted.kind or "",
                tags=wanted.tags,
            )  # fmt: skip
            return _queued(router, service, job)


def _add_versions(router: APIRouter, service: Service, models: Models) -> None:
    @router.post(
        "/models/{id}/versions/{number}/resize", status_code=201, tags=_TAGS, response_model=WholeJob,
        summary="Bring a version to another rank",
    )  # fmt: skip
    @reads_files
    def resize_version(id: str, number: int, wanted: ResizeIn) -> Response:
        """The result is the model's next version."""
        request = _request(service, "resize", wanted, {"rank": wanted.rank, "precision": wanted.precision})
        with service.database.writing():
            job = of_library.resize(service.queue, service.environment, models, request, models.get(id), number)
            return _queued(router, service, job)

    @router.post(
        "/models/{id}/versions/{number}/into-checkpoint", status_code=201, tags=_TAGS, response_model=WholeJob,
        summary="Merge a version into a checkpoint",
    )  # fmt: skip
    @reads_files
    def merge_into_checkpoint(
        id: str, number: int, wanted: IntoCheckpointIn = IntoCheckpointIn()  # noqa: B008 - it is not changed
    ) -> Response:  # fmt: skip
        """A new file is written; its path is `checkpoint` in the job's result."""
        config = {"base_model": wanted.base_model, "weight": wanted.weight, "output": wanted.output}
        request = _request(service, "into_checkpoint", wanted, config)
        with service.database.writing():
            job = of_library.into_checkpoint(
                service.queue, service.environment, models, request, models.get(id), number
            )
            return _queued(router, service, job)


def _add_places(router: APIRouter, service: Service, models: Models) -> None:
    @router.post("/models/{id}/rename", tags=_TAGS, response_model=schemas.WholeModel, summary="Rename a model")
    @reads_files
    def rename_model(id: str, wanted: RenameIn) -> dict[str, Any]:
        """Its LoRA, card and preview where the WebUI lists them follow."""
        renamed = published_files.rename(models, service.environment, id, wanted.name, replace=wanted.replace)
        return whole_model(service, router.prefix, models, renamed)

    @router.post("/models/{id}/retire", tags=_TAGS, response_model=schemas.WholeModel, summary="Put a model aside")
    @reads_files
    def retire_model(id: str) -> dict[str, Any]:
        """Its LoRA, card and preview leave the folder where the WebUI lists them, into the library's own."""
        return whole_model(service, router.prefix, models, published_files.retire(models, service.environment, id))

    @router.post(
        "/models/{id}/restore", tags=_TAGS, response_model=schemas.WholeModel, summary="Bring a retired model back"
    )
    @reads_files
    def restore_model(id: str) -> dict[str, Any]:
        """Its files return to where they were."""
        return whole_model(service, router.prefix, models, published_files.restore(models, service.environment, id))


def _request(service: Service, kind: str, wanted: LibraryJobIn, config: dict[str, Any]) -> NewJob:
    not_before = None if wanted.not_before is None else time_text.seconds(wanted.not_before, "not_before")
    return NewJob(
        kind, config, name=wanted.title.strip(), runner=service.environment.runner, after=wanted.after,
        priority=wanted.priority or 0, not_before=not_before, window=wanted.window or "",
    )  # fmt: skip


def _queued(router: APIRouter, service: Service, job: Job) -> Response:
    """The answer about a job that was queued in this transaction; it is kept with it."""
    view = job_view(service.queue, job, whole=True)
    location = f"{router.prefix}/jobs/{job.id}"
    service.requests.keep(Answer(201, json_text.dumps(view), location))
    service.database.afterwards(service.wake)
    return json_response(view, 201, {"Location": location})
