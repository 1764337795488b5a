"""Routes of files that are sent in parts and go on after a broken connection."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from .. import json_text
from ..jobs import of_model
from ..library.models import Models
from ..library.uploads import TooLarge, Upload, Uploads, WrongOffset
from ..time_text import iso
from . import model_schemas as schemas
from .body import announced, receive
from .errors import Problem
from .idempotency import Answer
from .images import taken_view
from .model_schemas import UploadIn
from .route import json_response, reads_body_itself, reads_files
from .service import Service

_TAGS = ["uploads"]


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models, uploads = Models(service.database), Uploads(service.database)
    _add_collection(router, service, uploads, models)
    _add_one(router, service, uploads, models)


def _add_collection(router: APIRouter, service: Service, uploads: Uploads, models: Models) -> None:
    @router.post(
        "/models/{id}/uploads", status_code=201, tags=_TAGS, response_model=schemas.Upload, summary="Announce a file"
    )
    def start_upload(id: str, new: UploadIn) -> Response:
        """Then send it with PUT /uploads/{id}, in parts of any size. After a day without one it is deleted."""
        of_model.require_own_folder(models.get(id))
        with service.database.writing():
            upload = _view(uploads.start(id, new.name, new.size, new.sha256))
            location = f"{router.prefix}/uploads/{upload['id']}"
            service.requests.keep(Answer(201, json_text.dumps(upload), location))
        return json_response(upload, 201, {"Location": location})

    @router.get("/models/{id}/uploads", tags=_TAGS, response_model=schemas.Uploads, summary="List open uploads")
    def list_uploads(id: str) -> dict[str, Any]:
        return {"items": [_view(upload) for upload in uploads.of(models.get(id).id)]}


def _add_one(router: APIRouter, service: Service, uploads: Uploads, models: Models) -> None:
    @router.get("/uploads/{id}", tags=_TAGS, response_model=schemas.Upload, summary="How much of a file is there")
    def get_upload(id: str) -> dict[str, Any]:
        return _view(uploads.get(id))

    @router.put(
        "/uploads/{id}", tags=_TAGS, response_model=schemas.Upload, summary="Send a part of a file",
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
    )  # fmt: skip
    @reads_body_itself
    async def put_part(
        id: str, request: Request, offset: int = Query(ge=0, description="Where it begins: `received`.")
    ) -> Response:
        """What has come stays, also when the connection breaks: GET says where to go on."""
        threads = service.threads
        upload = await threads.run(uploads.get, id)
        if announced(request) > upload.size - offset:
            raise TooLarge("The body has more bytes than were announced; send no more than `size`.")
        held = uploads.part(id, offset)
        try:
            part = await threads.run(held.__enter__)
        except WrongOffset as error:
            raise _with_received(error) from error
        try:
            await receive(threads, request, part)
        finally:
            await threads.run(held.__exit__, None, None, None)
        return json_response(_view(await threads.run(uploads.get, id)))

    @router.post(
        "/uploads/{id}/complete", status_code=201, tags=_TAGS, response_model=schemas.Taken, summary="Take a file in"
    )
    @reads_files
    def complete_upload(id: str) -> dict[str, Any]:
        """Images and captions go into the model's folder, zips unpacked; what cannot be used is listed with why."""
        model = models.get(uploads.get(id).model)
        try:
            with uploads.complete(id) as (_, path):
                taken = of_model.take_in(models, service.environment, model, path)
        except WrongOffset as error:
            raise _with_received(error) from error
        return taken_view(service, models, model, taken)

    @router.delete("/uploads/{id}", status_code=204, tags=_TAGS, summary="Give a file up")
    def delete_upload(id: str) -> Response:
        uploads.remove(id)
        return Response(status_code=204)


def _with_received(error: WrongOffset) -> Problem:
    return Problem("conflict", str(error), field="offset", more={"received": error.received})


def _view(upload: Upload) -> dict[str, Any]:
    return {**vars(upload), "created": iso(upload.created), "changed": iso(upload.changed)}
