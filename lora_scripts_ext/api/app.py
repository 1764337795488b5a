"""All routes as one router for any FastAPI application, and an application of our own around it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from .. import __version__
from . import (
    captions,
    catalogues,
    comparisons,
    configs,
    events,
    files,
    folders,
    images,
    jobs,
    keys,
    library,
    model_yaml,
    models,
    queue,
    reviews,
    session,
    settings,
    studio,
    system,
    uploads,
    watches,
)
from .access import Access
from .errors import Problem
from .route import route_class
from .service import Service

PREFIX = "/lora-trainer/v1"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
#: each adds its routes; the order is that of the document, and an image's caption comes before images of any name
_PARTS = (
    jobs, events, files, queue, models, library, reviews, captions, images, uploads, watches, catalogues, comparisons,
    configs, system, folders, settings, session, keys, model_yaml,
)  # fmt: skip


def routes(service: Service, access: Access) -> APIRouter:
    """The routes of ``service`` for those whom ``access`` lets through."""
    router = APIRouter(prefix=PREFIX, route_class=route_class(service, access))
    for part in _PARTS:
        part.add(router, service)

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return system.openapi(router)

    @router.api_route("/{path:path}", methods=_METHODS, include_in_schema=False)
    async def nothing(path: str, request: Request) -> Response:
        raise _nothing_there(router, f"{PREFIX}/{path}", request.method)

    return router


def standalone(service: Service, access: Access) -> FastAPI:
    """An application with nothing but the routes."""
    app = FastAPI(title="LoRA Trainer", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(routes(service, access))
    app.include_router(studio.routes(service.threads))
    app.add_route("/", lambda request: RedirectResponse("lora-trainer/studio/"))
    app.add_exception_handler(404, _elsewhere)
    return app


async def _elsewhere(request: Request, error: Exception) -> Response:
    detail = f"There is nothing at {request.url.path[:200]}; the addresses begin with {PREFIX}/."
    return Problem("no_such_route", detail).response()


def _nothing_there(router: APIRouter, path: str, method: str) -> Problem:
    """Why no route has matched."""
    methods: set[str] = set()
    for route in router.routes[:-1]:
        if isinstance(route, Route) and route.path_regex.match(path):
            methods |= route.methods or set()
    if methods:
        allowed = ", ".join(sorted(methods))
        return Problem("method_not_allowed", f"{path[:200]} takes {allowed}, not {method}.", headers={"Allow": allowed})
    return Problem("no_such_route", f"There is no {path[:200]} here; GET {PREFIX}/openapi.json lists all addresses.")
