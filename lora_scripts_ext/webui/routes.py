"""The routes behind the tab. They respond at once, whatever is being trained."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import Response

from ..api.app import routes as api_routes
from ..errors import UserError
from ..images import decode, thumbnail
from . import guard, paths
from .service import service

_THREADS = 4


def add(_blocks: Any, app: FastAPI) -> None:
    """Add the routes to the WebUI's server."""
    router = APIRouter(prefix="/lora-trainer", dependencies=[Depends(guard.allowed)])

    # Threads of our own: blocked requests of txt2img may have used up those that plain functions run in.
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="lora-trainer-route")

    @router.get("/report")
    async def report() -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(pool, _report)

    @router.post("/stop")
    async def stop() -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(pool, _stop)

    @router.get("/picture")
    def image_file(path: str, full: bool = False) -> Response:
        return Response(_png(path, full), media_type="image/png", headers={"Cache-Control": "no-cache"})

    app.include_router(router)
    try:
        app.include_router(api_routes(service().api, guard.caller))
    except UserError as error:
        paths.print_line(f"the API is not available: {error}")


def _report() -> dict[str, Any]:
    try:
        return service().report()
    except UserError as error:
        return {"status": "failed", "name": "The library", "error": str(error)}


def _stop() -> dict[str, Any]:
    service().stop()
    return service().report()


def _png(path: str, full: bool) -> bytes:
    """An image as PNG, upright; small unless ``full``."""
    if PurePath(path).suffix.lower() not in decode.EXTENSIONS:
        raise HTTPException(404, "no image")
    try:
        file = paths.servable(path)
        return thumbnail.whole(file) if full else thumbnail.small(file, kind="PNG")
    except UserError as error:
        raise HTTPException(403, str(error)) from error
    except (OSError, decode.Unreadable) as error:
        raise HTTPException(404, f"{PurePath(path).name} cannot be read") from error
