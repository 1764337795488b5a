"""The routes behind the tab. They answer at once, whatever is being trained."""

from __future__ import annotations

import base64
import functools
import secrets
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response
from PIL import Image

from ..dataset import picture
from ..errors import UserError
from . import place
from .desk import DESK

_THUMBNAIL = 160
# A page of thumbnails is asked for at once, and a photo takes up to half a gigabyte while it is decoded.
_DECODING = threading.Semaphore(2)
_REMEMBERED = 2048


def add(_blocks: Any, app: FastAPI) -> None:
    """Add the routes to the WebUI's server."""
    router = APIRouter(prefix="/lora-trainer", dependencies=[Depends(_allowed)])

    # async: blocked requests of txt2img may have used up the threads that plain functions run in.
    @router.get("/report")
    async def report() -> dict[str, Any]:
        return DESK.report()

    @router.post("/stop")
    async def stop() -> dict[str, Any]:
        DESK.stop()
        return DESK.report()

    @router.get("/picture")
    def shown(path: str, full: bool = False) -> Response:
        return Response(_png(path, full), media_type="image/png", headers={"Cache-Control": "no-cache"})

    app.include_router(router)


def _allowed(request: Request) -> None:
    """The WebUI's own guards: the API's user and password, or the login of its page."""
    if place.flag("api_auth") and _has_password(request.headers.get("authorization", "")):
        return
    page = request.app
    login = getattr(page, "auth", None)
    if login is None and not place.flag("api_auth"):
        return
    names = [name for name in request.cookies if name.startswith("access-token")]
    if login is not None and any(request.cookies[name] in page.tokens for name in names):
        return
    raise HTTPException(401, "Log in to the WebUI first.", {"WWW-Authenticate": "Basic"})


def _has_password(header: str) -> bool:
    kind, _, told = header.partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        given = base64.b64decode(told)
    except ValueError:
        return False
    pairs = [pair.strip().encode() for pair in place.flag("api_auth").split(",")]
    return any(secrets.compare_digest(given, pair) for pair in pairs)


def _png(path: str, full: bool) -> bytes:
    """A picture as PNG, upright; small unless ``full``."""
    try:
        found = place.readable(path)
        if found.suffix.lower() not in picture.EXTENSIONS:
            raise HTTPException(404, "no picture")
        if not full:
            return _thumbnail(found, found.stat().st_mtime_ns)
        with _DECODING:
            return _packed(picture.decode(found.read_bytes()).pixels)
    except UserError as error:
        raise HTTPException(403, str(error)) from error
    except (OSError, picture.Unreadable) as error:
        raise HTTPException(404, f"{Path(path).name} cannot be read") from error


@functools.lru_cache(_REMEMBERED)
def _thumbnail(path: Path, _changed: int) -> bytes:
    """Remembered until the file changes; some 30 kB each."""
    with _DECODING:
        return _packed(picture.small(path, _THUMBNAIL))


def _packed(pixels: Image.Image) -> bytes:
    out = BytesIO()
    pixels.save(out, format="PNG")
    return out.getvalue()
