"""Routes of a model's images: listed, shown, sent, edited, excluded, reported on."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ..errors import NotFound, UserError
from ..images import decode, edited, thumbnail
from ..images.bucket import Size
from ..images.edit import UNEDITED, Edit
from ..jobs import drafts, of_model, trained_part
from ..jobs.trained_part import TrainedParts
from ..library.model import Model
from ..library.models import Models
from ..library.uploads import Uploads
from ..preparation import listing as listings
from ..preparation.archive import Unpacked
from ..preparation.listing import Item, Listing
from . import model_schemas as schemas
from .body import announced, receive
from .errors import Problem
from .files import send
from .model_schemas import EditIn, ExclusionIn
from .models import image_address, thumbnail_address
from .route import json_response, reads_body_itself, reads_files
from .schemas import given
from .service import Service

_TAGS = ["images"]
_SHOW = Query("all", description="Only these.")
_NOTHING: dict[str, Any] = {"resolution": None, "pictures": [], "duplicates": [], "advice": [], "settings": None}
#: what browsers show; others are sent as they are
_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".avif": "image/avif", ".bmp": "image/bmp",
}  # fmt: skip
_KEPT = {"Cache-Control": "private, max-age=60", "X-Content-Type-Options": "nosniff"}


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models = Models(service.database)
    _add_list(router, service, models)
    _add_changes(router, service, models)
    _add_files(router, service, models)


def listing(service: Service, models: Models, model: Model) -> Listing:
    """The model's images as they are now."""
    return listings.listing(drafts.place(models, service.environment, model), model.trigger_word)


def view(prefix: str, model: Model, folder: Path, item: Item, parts: TrainedParts | None) -> dict[str, Any]:
    """An image ready for JSON; ``parts``: the model's buckets, where they are known."""
    edit = item.edit
    whole, size_on_disk = listings.image_facts(folder / item.name)
    size = edit.size(whole) if whole else None
    return {
        "name": item.name, "address": image_address(prefix, model.id, item.name),
        "thumbnail": thumbnail_address(prefix, model.id, item.name, edit),
        "width": size[0] if size else None, "height": size[1] if size else None,
        "rotate": edit.rotate, "crop": edit.crop, "trained": _trained(parts, item.name, size),
        "bytes": size_on_disk, "excluded": item.excluded,
        "caption": item.caption.prompt, "fields": vars(item.caption.fields), "by": item.caption.by,
        "verdict": item.verdict.grade if item.verdict else None,
        "reasons": [asdict(reason) for reason in item.verdict.reasons] if item.verdict else [],
    }  # fmt: skip


def _trained(parts: TrainedParts | None, name: str, size: Size | None) -> dict[str, Any] | None:
    if parts is None or size is None:
        return None
    part = parts.of(name, size)
    return {"width": part.size[0], "height": part.size[1], "crop": part.crop}


def taken_view(service: Service, models: Models, model: Model, taken: Unpacked) -> dict[str, Any]:
    """What came of a file that was sent, ready for JSON."""
    return {
        "images": taken.names,
        "skipped": [{"name": one.name, "reason": one.reason} for one in taken.skipped],
        "counts": listing(service, models, model).counts(),
    }


def _add_list(router: APIRouter, service: Service, models: Models) -> None:
    @router.get("/models/{id}/images", tags=_TAGS, response_model=schemas.ImagePage, summary="List a model's images")
    @reads_files
    def list_images(
        id: str,
        show: listings.Show = _SHOW,
        search: str = Query("", max_length=300, description="In names and captions; tag:red: a whole tag; none."),
        limit: int = Query(100, ge=1, le=service.limits.page),
        cursor: str = Query("", max_length=4000, description="`next` of the page before."),
    ) -> dict[str, Any]:
        model = models.get(id)
        found = listing(service, models, model)
        items = [item for item in found.shown(show, search) if item.name > cursor]
        folder = drafts.images_folder(models, service.environment, model)
        parts = trained_part.of_model(models, service.environment, model)
        return {
            "items": [view(router.prefix, model, folder, item, parts) for item in items[:limit]],
            "counts": found.counts(),
            "skipped": [{"name": one.name, "reason": one.reason} for one in found.skipped],
            "warnings": list(found.warnings),
            "next": items[limit - 1].name if len(items) > limit else None,
        }

    @router.get(
        "/models/{id}/report", tags=_TAGS, response_model=schemas.ModelReport, summary="The report on a model's images"
    )
    @reads_files
    def get_report(id: str) -> dict[str, Any]:
        """As the images are now, as far as they have been checked: POST /models/{id}/check checks the rest."""
        found = listing(service, models, models.get(id))
        last = {**found.last.report.to_dict(), "resolution": found.last.resolution} if found.last else _NOTHING
        return {"checked": found.last is not None, "counts": found.counts(), **{key: last[key] for key in _NOTHING}}


def _add_changes(router: APIRouter, service: Service, models: Models) -> None:
    @router.post(
        "/models/{id}/images/exclude",
        tags=_TAGS,
        response_model=schemas.ImageCounts,
        summary="Exclude or include images",
    )
    @reads_files
    def exclude_images(id: str, wanted: ExclusionIn) -> dict[str, Any]:
        """Excluded images are not trained on; their files stay."""
        model = models.get(id)
        listings.exclude(drafts.place(models, service.environment, model), wanted.images, wanted.excluded)
        return listing(service, models, model).counts()

    @router.patch(
        "/models/{id}/images/{name:path}", tags=_TAGS, response_model=schemas.Image, summary="Rotate or crop an image"
    )
    @reads_files
    def edit_image(id: str, name: str, wanted: EditIn) -> dict[str, Any]:
        """Its file stays as it is; training, checks, captioners and thumbnails see the edited image."""
        model = models.get(id)
        values = given(wanted)
        if not values:
            raise UserError("rotate: the request has no edit; send rotate, crop or both.")
        place = drafts.place(models, service.environment, model)
        listing(service, models, model).item(name)
        listings.change_edit(place, name, values)
        parts = trained_part.of_model(models, service.environment, model)
        return view(router.prefix, model, place.folder, listing(service, models, model).item(name), parts)


def _add_files(router: APIRouter, service: Service, models: Models) -> None:
    uploads = Uploads(service.database)

    @router.get("/models/{id}/images/{name:path}", tags=_TAGS, summary="Fetch an image", response_class=Response)
    async def get_image(
        id: str,
        name: str,
        request: Request,
        size: int = Query(0, ge=0, le=4096, description="Longest side of a small JPEG: 160, 320 or 640; 0: the file."),
        png: bool = Query(False, description="The whole image as PNG, whatever its format is."),
        original: bool = Query(False, description="With `size` or `png`: as it is without its edit."),
        uncropped: bool = Query(False, description="With `size` or `png`: rotated, but not cropped."),
        edit: str = Query("", max_length=100, description="Of the list's addresses: another one after each edit."),
    ) -> Response:
        path = await service.threads.run(_path, service, models, id, name)
        if size or png:
            shown = UNEDITED if original else await service.file_threads.run(_edit, service, models, id, name)
            shown = replace(shown, crop=None) if uncropped else shown
            return await service.file_threads.run(_shown, path, size, name, shown)
        media_type = _TYPES.get(path.suffix.lower(), "application/octet-stream")
        return await send(service.threads, path, media_type, request.headers)

    @router.put(
        "/models/{id}/images/{name:path}", status_code=201, tags=_TAGS, response_model=schemas.Taken,
        summary="Send an image, a caption file or a zip in one request",
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
    )  # fmt: skip
    @reads_body_itself
    async def put_image(id: str, name: str, request: Request) -> Response:
        """The body is the file. One that is there is not stored twice; another file of its name gets a number."""
        model = await service.threads.run(models.get, id)
        of_model.require_own_folder(model)
        size = announced(request)
        held = uploads.whole(name, size)
        path, part = await service.threads.run(held.__enter__)
        try:
            await receive(service.threads, request, part)
            return await service.file_threads.run(_taken, service, models, model, path, size)
        finally:
            await service.threads.run(held.__exit__, None, None, None)


def _taken(service: Service, models: Models, model: Model, path: Path, size: int) -> Response:
    if path.stat().st_size != size:
        raise Problem("bad_request", "The body is shorter than its Content-Length; send it again.")
    taken = of_model.take_in(models, service.environment, model, path)
    return json_response(taken_view(service, models, model, taken), 201)


def _path(service: Service, models: Models, id: str, name: str) -> Path:
    return of_model.image_file(drafts.images_folder(models, service.environment, models.get(id)), name)


def _edit(service: Service, models: Models, id: str, name: str) -> Edit:
    folder = drafts.images_folder(models, service.environment, models.get(id))
    return edited.read(folder).get(name, UNEDITED)


def _shown(path: Path, size: int, name: str, edit: Edit) -> Response:
    """A small JPEG, or a PNG, of the edited image.

    Raises:
        NotFound: the file cannot be read.
    """
    try:
        if size:
            return Response(thumbnail.small(path, size, edit=edit), headers=_KEPT, media_type="image/jpeg")
        return Response(thumbnail.whole(path, edit), headers=_KEPT, media_type="image/png")
    except decode.Unreadable as error:
        raise NotFound(f"{name} {error}.") from error
    except OSError as error:
        raise NotFound(f"{name} cannot be read ({error.strerror}); reload the list.") from error
