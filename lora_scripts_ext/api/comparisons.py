"""The route of photos that are compared; a comparison itself is a job, and its images are the job's files."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from .. import files
from ..errors import UserError
from ..images import decode
from ..library.uploads import Uploads
from ..models.weights import sha256
from . import catalogue_schemas as schemas
from .body import announced, receive
from .errors import Problem
from .route import json_response, reads_body_itself
from .service import Service

_FOLDER = "photos"
_DIGITS = 16


def add(router: APIRouter, service: Service) -> None:
    """Add the route."""
    uploads = Uploads(service.database)

    @router.put(
        "/comparisons/photos/{name}", tags=["catalogues"], response_model=schemas.Photo,
        summary="Send a photo to be compared",
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
    )  # fmt: skip
    @reads_body_itself
    async def put_photo(name: str, request: Request) -> Response:
        """The body is the image; `photo` is its path for the config of a job of the kind `comparison`."""
        size = announced(request)
        held = uploads.whole(name, size)
        path, part = await service.threads.run(held.__enter__)
        try:
            await receive(service.threads, request, part)
            if path.stat().st_size != size:
                raise Problem("bad_request", "The body is shorter than its Content-Length; send it again.")
            kept = await service.file_threads.run(_kept, path, service.environment.data_dir / _FOLDER)
            return json_response({"photo": str(kept)})
        finally:
            await service.threads.run(held.__exit__, None, None, None)


def _kept(path: Path, folder: Path) -> Path:
    """A copy that stays, the same for the same photo.

    Raises:
        UserError: it is no image.
    """
    try:
        decode.decode(path.read_bytes())
    except decode.Unreadable as error:
        raise UserError(f"{path.name}: this photo {error}; choose another.") from error
    kept = folder / sha256([path])[:_DIGITS] / path.name
    if not kept.is_file():
        files.copy(path, kept)
    return kept
