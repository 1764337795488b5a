"""Routes of catalogues: lists and rules, products, candidates, what people decide about them, what is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from .. import file_name, json_text
from ..catalogue import candidates, decisions, feedback, manifest
from ..catalogue.decisions import Decision
from ..catalogue.store import Catalogue
from ..channels import channel as channels
from ..errors import NotFound
from ..images import decode, thumbnail
from ..jobs import drafts, service_file
from ..jobs.catalogues import Catalogues, queue_drawing
from ..jobs.kinds.catalogue import FINISHED
from ..jobs.submit import submit
from ..library.job import NewJob
from ..library.models import Models
from . import catalogue_lists, zipped
from . import catalogue_schemas as schemas
from . import catalogue_views as views
from .access import caller_of
from .catalogue_lists import values_of
from .catalogue_schemas import (
    CatalogueIn,
    ChoiceIn,
    CopyIn,
    DrawIn,
    ExportIn,
    FeedbackIn,
    MoreIn,
    ProductIn,
    SettingsIn,
)
from .files import send
from .idempotency import Answer
from .route import json_response, reads_files
from .schemas import given
from .service import Service
from .webhooks import announce

_TAGS = ["catalogues"]
_ONE = "/catalogues/{id}"
_PRODUCT = "/catalogues/{id}/products/{product}"
_CANDIDATE = "/catalogues/{id}/products/{product}/candidates/{number}"
_THUMBNAIL = 320
_KEPT = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".json": "application/json", ".csv": "text/csv",
}  # fmt: skip


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    catalogues = Catalogues(service.environment)
    _add_channels(router)
    _add_collection(router, service, catalogues)
    catalogue_lists.add(router, service, catalogues)
    _add_products(router, catalogues)
    _add_copy(router, service, catalogues)
    _add_drawing(router, service, catalogues)
    _add_decisions(router, service, catalogues)
    _add_images(router, service, catalogues)
    _add_export(router, service, catalogues)


def _add_channels(router: APIRouter) -> None:
    @router.get("/channels", tags=_TAGS, response_model=schemas.Channels, summary="List the sales channels that ship")
    @reads_files
    def list_channels(
        market: str = Query("", max_length=10, description="Country whose law on visible marks counts, such as CN."),
    ) -> dict[str, Any]:
        return {"items": [views.channel(channels.load(name), market) for name in channels.names()]}


def _add_collection(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.get("/catalogues", tags=_TAGS, response_model=schemas.Catalogues, summary="List catalogues")
    @reads_files
    def list_catalogues() -> dict[str, Any]:
        found = []
        for id in catalogues.ids():
            with catalogues.opened(id) as catalogue:
                found.append(views.short(service, id, catalogue))
        return {"items": sorted(found, key=lambda one: (one["created"], one["id"]), reverse=True)}

    @router.post(
        "/catalogues", status_code=201, tags=_TAGS, response_model=schemas.WholeCatalogue, summary="Make a catalogue"
    )
    @reads_files
    def add_catalogue(wanted: CatalogueIn) -> Response:
        """Of a list of the server's, of rows, or without products: then send the list with PUT."""
        values = values_of(wanted)
        id = catalogues.create(values, values.pop("products", None))
        with catalogues.opened(id) as catalogue:
            view = views.whole(router, service, id, catalogue)
        return json_response(view, 201, {"Location": f"{router.prefix}/catalogues/{id}"})

    @router.post("/catalogues/check", tags=_TAGS, response_model=schemas.Checked, summary="Try a list with its rules")
    @reads_files
    def check_list(wanted: CatalogueIn) -> dict[str, Any]:
        """Nothing is kept or drawn."""
        values = values_of(wanted)
        return catalogues.check(values, values.pop("products", None))

    @router.get(_ONE, tags=_TAGS, response_model=schemas.WholeCatalogue, summary="Look at a catalogue")
    @reads_files
    def get_catalogue(id: str) -> dict[str, Any]:
        with catalogues.opened(id) as catalogue:
            return views.whole(router, service, id, catalogue)

    @router.patch(_ONE, tags=_TAGS, response_model=schemas.WholeCatalogue, summary="Change a catalogue's settings")
    @reads_files
    def change_catalogue(id: str, change: SettingsIn) -> dict[str, Any]:
        """Products that are there are matched again; what is drawn and decided stays."""
        catalogues.change(id, values_of(change))
        with catalogues.opened(id) as catalogue:
            return views.whole(router, service, id, catalogue)

    @router.delete(_ONE, status_code=204, tags=_TAGS, summary="Forget a catalogue")
    @reads_files
    def delete_catalogue(id: str) -> Response:
        """What it has handed over stays; its products, images and decisions are moved into the data folder's trash."""
        catalogues.delete(id, service.queue)
        return Response(status_code=204)


def _add_products(router: APIRouter, catalogues: Catalogues) -> None:
    @router.get(
        f"{_ONE}/products", tags=_TAGS, response_model=schemas.ProductPage, summary="List a catalogue's products"
    )
    def list_products(
        id: str,
        state: str = Query("", max_length=20, description="Only these; `removed`: those no longer in the list."),
        category: str = Query("", max_length=500),
        search: str = Query("", max_length=300, description="In SKU, title, tags and other columns."),
        limit: int = Query(50, ge=1, le=200),
        cursor: str = Query("", max_length=40, description="`next` of the page before."),
    ) -> dict[str, Any]:
        with catalogues.opened(id) as catalogue:
            page = catalogue.page(state=state, category=category, search=search, limit=limit, cursor=cursor)
            own = candidates.of_products(catalogue, [one.id for one in page.products])
        items = [views.product(router.prefix, id, one, own[one.id]) for one in page.products]
        return {"items": items, "next": page.next}

    @router.get(_PRODUCT, tags=_TAGS, response_model=schemas.CatalogueProduct, summary="Look at a product")
    def get_product(id: str, product: int) -> dict[str, Any]:
        with catalogues.opened(id) as catalogue:
            return views.product_of(router.prefix, id, catalogue, product)

    @router.patch(
        _PRODUCT, tags=_TAGS, response_model=schemas.CatalogueProduct, summary="Change what is drawn of a product"
    )
    def change_product(id: str, product: int, change: ProductIn) -> dict[str, Any]:
        """It counts for candidates that are not drawn yet."""
        values = given(change)
        if values.get("loras") is not None:
            values["loras"] = [dict(vars(one)) for one in change.loras or []]
        if "shop_copy" in values:
            copy = values.pop("shop_copy")
            values["copy"] = dict(vars(copy)) if copy is not None else None
        with catalogues.opened(id) as catalogue:
            catalogue.edit(product, values)
            return views.product_of(router.prefix, id, catalogue, product)


def _add_copy(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.post(
        f"{_ONE}/copy", status_code=201, tags=_TAGS, response_model=schemas.CatalogueJob, summary="Have copy written"
    )
    @reads_files
    def write_copy(id: str, wanted: CopyIn) -> Response:
        """A title and selling points for products that have none, by a service that the operator allows."""
        config = {**given(wanted), "catalogue": str(catalogues.folder(id)), "products": wanted.products or []}
        if named := config.pop("service", ""):
            config |= service_file.endpoint(service.database.folder, named)
        return _queued(router, service, NewJob("catalogue_copy", config, runner=service.environment.runner))


def _add_drawing(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.post(
        f"{_ONE}/generate", status_code=201, tags=_TAGS, response_model=schemas.Drawing, summary="Draw candidates"
    )
    @reads_files
    def draw(id: str, wanted: DrawIn = DrawIn()) -> Response:  # noqa: B008 - it is not changed
        """Of products that a rule fits, so many as they have not yet; those that failed are tried again."""
        job = NewJob(
            "catalogue", {"base_model": wanted.base_model or ""}, priority=wanted.priority, after=wanted.after,
            runner=service.environment.runner,
        )  # fmt: skip
        with catalogues.opened(id) as catalogue:
            candidates.request(catalogue, wanted.candidates, wanted.products)
            return _drawing(router, service, catalogue, job)

    @router.post(
        f"{_PRODUCT}/candidates", status_code=201, tags=_TAGS, response_model=schemas.Drawing,
        summary="Draw more candidates of a product",
    )  # fmt: skip
    @reads_files
    def draw_more(id: str, product: int, request: Request, wanted: MoreIn = MoreIn()) -> Response:  # noqa: B008
        """With numbers and seeds of their own; one that they replace is rejected."""
        with catalogues.opened(id) as catalogue:
            if wanted.replaces is not None:
                who = _who(request, wanted.who)
                said = decisions.decide(catalogue, product, wanted.replaces, "rejected", who=who)
                _announce(service, id, catalogue, product, said)
            candidates.add(catalogue, product, wanted.count)
            return _drawing(router, service, catalogue, NewJob("catalogue", {}, runner=service.environment.runner))


def _add_decisions(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.post(
        f"{_CANDIDATE}/decisions", status_code=201, tags=_TAGS, response_model=schemas.Choice,
        summary="Approve, reject, crop a candidate, take it back, or comment",
    )  # fmt: skip
    def decide(id: str, product: int, number: int, wanted: ChoiceIn, request: Request) -> dict[str, Any]:
        """Of a product several may be approved; they are in that order."""
        crop = decisions.crop_of(wanted.crop) if wanted.crop is not None else None
        with catalogues.opened(id) as catalogue:
            said = decisions.decide(
                catalogue, product, number, wanted.verdict, crop=crop, comment=wanted.comment,
                who=_who(request, wanted.who),
            )  # fmt: skip
            _announce(service, id, catalogue, product, said)
        return views.decision(said)

    @router.get(f"{_PRODUCT}/decisions", tags=_TAGS, response_model=schemas.Choices, summary="List decisions")
    def list_decisions(id: str, product: int) -> dict[str, Any]:
        """About all candidates of a product, the newest first."""
        with catalogues.opened(id) as catalogue:
            return {
                "items": [views.decision(one) for one in decisions.of_product(catalogue, catalogue.get(product).id)]
            }


def _add_images(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.get(f"{_CANDIDATE}/image", tags=_TAGS, summary="Fetch a candidate's image", response_class=Response)
    async def get_image(
        id: str,
        product: int,
        number: int,
        request: Request,
        size: int = Query(0, ge=0, le=4096, description="Longest side of a small JPEG: 160, 320 or 640; 0: the file."),
        of: str = Query("", max_length=100, description="Of the list's addresses: another one for another image."),
    ) -> Response:
        path = await service.threads.run(_image, catalogues, id, product, number)
        if size:
            return await service.file_threads.run(_small, path, size)
        return await send(service.threads, path, "image/png", request.headers)


def _add_export(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.post(
        f"{_ONE}/export", status_code=201, tags=_TAGS, response_model=schemas.CatalogueJob,
        summary="Hand over approved images",
    )  # fmt: skip
    @reads_files
    def export(id: str, request: Request, wanted: ExportIn = ExportIn()) -> Response:  # noqa: B008
        """Finished for each channel, with a manifest; what is there already is left alone."""
        with catalogues.opened(id) as catalogue:
            config = {
                "catalogue": str(catalogue.folder), "output_dir": wanted.output_dir or "",
                "channels": wanted.channels or [], "undecided": wanted.undecided,
            }  # fmt: skip
        return _queued(router, service, NewJob("catalogue_export", config, runner=service.environment.runner))

    @router.get(
        f"{_ONE}/finished/{{path:path}}",
        tags=_TAGS,
        summary="Fetch a finished image or the manifest",
        response_class=Response,
    )
    async def get_finished(id: str, path: str, request: Request) -> Response:
        """By its `file` in the manifest, which is itself `manifest.json` and `manifest.csv`."""
        file = await service.threads.run(_finished, catalogues, id, path)
        return await send(service.threads, file, _TYPES[file.suffix.lower()], request.headers)

    @router.get(
        f"{_ONE}/finished.zip", tags=_TAGS, summary="Fetch all finished images as one ZIP", response_class=Response
    )
    async def get_all_finished(id: str) -> Response:
        """With the manifest, under the names in it."""
        folder, names, title = await service.threads.run(_all_finished, catalogues, id)
        return zipped.send(service.threads, folder, names, f"{title}.zip")

    @router.post(f"{_ONE}/feedback", tags=_TAGS, response_model=schemas.Feedback, summary="Train on chosen images")
    @reads_files
    def feed_back(id: str, wanted: FeedbackIn) -> dict[str, Any]:
        """Approved images go into a training set, marked as generated, up to a share of it: that of a model, or of a
        folder."""
        trigger_word = wanted.trigger_word
        if wanted.model:
            models = Models(service.database)
            model = models.get(wanted.model)
            folder = drafts.images_folder(models, service.environment, model)
            trigger_word = trigger_word or model.trigger_word
        else:
            folder = service.environment.readable(wanted.folder)
        with catalogues.opened(id) as catalogue:
            return feedback.feed_back(catalogue, folder, wanted.share, trigger_word).to_dict()


def _drawing(router: APIRouter, service: Service, catalogue: Catalogue, job: NewJob) -> Response:
    with service.database.writing():
        queued = queue_drawing(service.queue, service.environment, catalogue, job)
        view = {"waiting": candidates.waiting(catalogue), "job": queued.id}
        location = f"{router.prefix}/jobs/{queued.id}"
        service.requests.keep(Answer(201, json_text.dumps(view), location))
    service.wake()
    return json_response(view, 201, {"Location": location})


def _queued(router: APIRouter, service: Service, job: NewJob) -> Response:
    with service.database.writing():
        queued = submit(service.queue, service.environment, [job])[0]
        view, location = views.job_of(queued), f"{router.prefix}/jobs/{queued.id}"
        service.requests.keep(Answer(201, json_text.dumps(view), location))
    service.wake()
    return json_response(view, 201, {"Location": location})


def _who(request: Request, given_name: str) -> str:
    """Whose request it is: by its key, else as it says."""
    return caller_of(request).name or given_name.strip()


def _announce(service: Service, id: str, catalogue: Catalogue, product: int, said: Decision) -> None:
    """Let webhooks know what someone has said about a candidate."""
    about = {
        "catalogue": {"id": id, "name": catalogue.settings().name},
        "product": {"id": product, "sku": catalogue.get(product).sku},
    }
    announce(service.database, "candidate_decided", {**about, "decision": views.decision(said)})


def _image(catalogues: Catalogues, id: str, product: int, number: int) -> Path:
    with catalogues.opened(id) as catalogue:
        candidate = candidates.get(catalogue, product, number)
        path = candidate.path(catalogue)
    if candidate.state != "drawn" or not path.is_file():
        raise NotFound(f"number: candidate {number} has no image; wait for it, or draw it again.")
    return path


def _small(path: Path, size: int) -> Response:
    try:
        return Response(thumbnail.small(path, size), headers=_KEPT, media_type="image/jpeg")
    except (decode.Unreadable, OSError) as error:
        raise NotFound(f"{path.name} cannot be read; draw it again.") from error


def _finished(catalogues: Catalogues, id: str, path: str) -> Path:
    folder = (catalogues.folder(id) / FINISHED).resolve()
    try:
        file = (folder / path).resolve()
        there = file.is_relative_to(folder) and file.suffix.lower() in _TYPES and file.is_file()
    except (OSError, ValueError, RuntimeError):
        there = False
    if not there:
        raise NotFound(f"path: there is no finished image {path[:200]!r}; the manifest lists them all.")
    return file


def _all_finished(catalogues: Catalogues, id: str) -> tuple[Path, list[str], str]:
    """The folder of the finished images, their names in it with those of the manifests, and what to call all of it."""
    folder = catalogues.folder(id) / FINISHED
    names = [manifest.NAME, manifest.TABLE, *(str(one["file"]) for one in manifest.read(folder))]
    if missing := next((name for name in names if not (folder / name).is_file()), ""):
        raise NotFound(f"{missing}: there is no such finished file; hand the catalogue over.")
    with catalogues.opened(id) as catalogue:
        return folder, names, file_name.cleaned(catalogue.settings().name) or id
