"""Routes of what a catalogue is made from: its list with the photos, its rules, and the words of its prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..errors import UserError
from ..jobs.catalogues import Catalogues, Words
from ..library.uploads import Uploads
from . import catalogue_schemas as schemas
from .body import announced, receive
from .catalogue_schemas import CatalogueIn, RowsIn, SettingsIn
from .errors import Problem
from .route import json_response, reads_body_itself, reads_files
from .schemas import given
from .service import Service

_TAGS = ["catalogues"]
_ONE = "/catalogues/{id}"
_FILE: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/octet-stream": {}}}}
# Templates and glossaries are texts.
_LARGEST_WORDS = 4 << 20


def add(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    """Add the routes."""
    _add_list(router, service, catalogues)
    _add_photos(router, service, catalogues)
    _add_rules(router, catalogues)
    _add_words(router, service, catalogues)


def values_of(wanted: SettingsIn) -> dict[str, Any]:
    """The settings that a request has; null is as good as left out."""
    return {key: value for key, value in given(wanted).items() if value is not None}


def _add_list(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.post(f"{_ONE}/check", tags=_TAGS, response_model=schemas.Checked, summary="Try rules on a catalogue's list")
    @reads_files
    def check_catalogue(id: str, wanted: CatalogueIn = CatalogueIn()) -> dict[str, Any]:  # noqa: B008 - not changed
        """With the settings that the request changes. Nothing is kept or drawn."""
        values = values_of(wanted)
        return catalogues.check(values, values.pop("products", None), id)

    @router.post(f"{_ONE}/read", tags=_TAGS, response_model=schemas.Changes, summary="Read a catalogue's list again")
    @reads_files
    def read_list(id: str, wanted: RowsIn = RowsIn()) -> dict[str, Any]:  # noqa: B008 - it is not changed
        """By SKU: what people have changed and decided stays. Photos that were sent are found."""
        if wanted.partial:
            return asdict(catalogues.merge(id, wanted.products or [], wanted.removed))
        if wanted.removed:
            raise UserError("removed: it is for a part of the list; set partial to true, or leave those products out.")
        return asdict(catalogues.read(id, wanted.products))

    @router.put(
        f"{_ONE}/list/{{name}}", tags=_TAGS, response_model=schemas.Changes, summary="Send a catalogue's list",
        openapi_extra=_FILE,
    )  # fmt: skip
    @reads_body_itself
    async def put_list(id: str, name: str, request: Request) -> Response:
        """The body is the file: CSV, TSV, JSON or XLSX."""
        await service.threads.run(catalogues.folder, id)
        return await _sent(service, request, name, lambda path: asdict(catalogues.take_list(id, path)))

    @router.get(
        f"{_ONE}/problems", tags=_TAGS, response_model=schemas.RowProblems, summary="List rows that cannot be used"
    )
    def list_problems(id: str) -> dict[str, Any]:
        with catalogues.opened(id) as catalogue:
            return {"items": [asdict(one) for one in catalogue.problems()]}


def _add_photos(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    @router.put(
        f"{_ONE}/photos/{{name:path}}", tags=_TAGS, response_model=schemas.Photos,
        summary="Send photos along with a catalogue's list", openapi_extra=_FILE,
    )  # fmt: skip
    @reads_body_itself
    async def put_photos(id: str, name: str, request: Request) -> Response:
        """The body is a photo, or a zip of them; POST /catalogues/{id}/read then finds them where the list names them.
        Without a list, `folder` can be the catalogue's `source`: each photo is a product then."""
        folder = await service.threads.run(catalogues.list_folder, id)

        def take(path: Path) -> dict[str, Any]:
            taken = catalogues.take_photos(id, path, name)
            return {"photos": taken.names, "skipped": [vars(one) for one in taken.skipped], "folder": str(folder)}

        return await _sent(service, request, name, take)


def _add_rules(router: APIRouter, catalogues: Catalogues) -> None:
    @router.get(f"{_ONE}/rules", tags=_TAGS, response_model=schemas.CatalogueRules, summary="Look at the rules")
    @reads_files
    def get_rules(id: str) -> dict[str, Any]:
        """As they can be sent with the settings."""
        return {"rules": catalogues.rules(id)}


def _add_words(router: APIRouter, service: Service, catalogues: Catalogues) -> None:
    def templates(id: str) -> dict[str, Any]:
        return {"templates": catalogues.templates(id)}

    def terms(id: str) -> dict[str, Any]:
        return {"terms": catalogues.terms(id)}

    async def sent(
        id: str, kind: Words, name: str, request: Request, view: Callable[[str], dict[str, Any]]
    ) -> Response:
        if announced(request) > _LARGEST_WORDS:
            raise Problem("too_large", f"The file is larger than {_LARGEST_WORDS >> 20} MiB; check which one it is.")
        await service.threads.run(catalogues.folder, id)

        def take(path: Path) -> dict[str, Any]:
            catalogues.take_words(id, kind, path)
            return view(id)

        return await _sent(service, request, name, take)

    @router.get(
        f"{_ONE}/templates", tags=_TAGS, response_model=schemas.CatalogueTemplates, summary="Look at own templates"
    )
    @reads_files
    def get_templates(id: str) -> dict[str, Any]:
        """As they can be sent with the settings, without those that ship."""
        return templates(id)

    @router.get(
        f"{_ONE}/glossary", tags=_TAGS, response_model=schemas.CatalogueGlossary, summary="Look at the own glossary"
    )
    @reads_files
    def get_glossary(id: str) -> dict[str, Any]:
        """As it can be sent with the settings, without the terms that ship."""
        return terms(id)

    @router.put(
        f"{_ONE}/templates/{{name}}", tags=_TAGS, response_model=schemas.CatalogueTemplates,
        summary="Send templates as a file", openapi_extra=_FILE,
    )  # fmt: skip
    @reads_body_itself
    async def put_templates(id: str, name: str, request: Request) -> Response:
        """The body is YAML; products that are there are planned again."""
        return await sent(id, "templates", name, request, templates)

    @router.put(
        f"{_ONE}/glossary/{{name}}", tags=_TAGS, response_model=schemas.CatalogueGlossary,
        summary="Send a glossary as a file", openapi_extra=_FILE,
    )  # fmt: skip
    @reads_body_itself
    async def put_glossary(id: str, name: str, request: Request) -> Response:
        """The body is YAML, or CSV with the term and the words for it; products that are there are planned again."""
        return await sent(id, "glossary", name, request, terms)


async def _sent(service: Service, request: Request, name: str, take: Callable[[Path], dict[str, Any]]) -> Response:
    """Receive the body as a file called ``name``, hand it to ``take``, and answer with what that returns."""
    size = announced(request)
    held = Uploads(service.database).whole(name, size)
    path, part = await service.threads.run(held.__enter__)

    def taken() -> Response:
        if path.stat().st_size != size:
            raise Problem("bad_request", "The body is shorter than its Content-Length; send it again.")
        return json_response(take(path))

    try:
        await receive(service.threads, request, part)
        return await service.file_threads.run(taken)
    finally:
        await service.threads.run(held.__exit__, None, None, None)
