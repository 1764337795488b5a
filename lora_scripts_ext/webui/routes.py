"""The routes behind the tab. They respond at once, whatever is being trained."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import Response
from PIL import Image

from ..errors import UserError
from ..images import decode
from . import guard, paths
from .service import service

_THUMBNAIL = 160
# A page requests all thumbnails at once, and a photo takes up to half a gigabyte while it is decoded.
_DECODING = threading.Semaphore(2)
_REMEMBERED = 2048
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
        if not full:
            return _thumbnail(file, file.stat().st_mtime_ns)
        with _DECODING:
            return _packed(decode.decode(file.read_bytes()).pixels)
    except UserError as error:
        raise HTTPException(403, str(error)) from error
    except (OSError, decode.Unreadable) as error:
        raise HTTPException(404, f"{PurePath(path).name} cannot be read") from error


@functools.lru_cache(_REMEMBERED)
def _thumbnail(path: Path, _changed: int) -> bytes:
    """Remembered until the file changes; some 30 kB each."""
    with _DECODING:
        return _packed(decode.small(path, _THUMBNAIL))


def _packed(pixels: Image.Image) -> bytes:
    out = BytesIO()
    pixels.save(out, format="PNG")
    return out.getvalue()
