"""The routes behind the tab. They answer at once, whatever is being trained."""

from __future__ import annotations

import base64
import secrets
from io import BytesIO
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response
from PIL import Image, ImageOps

from ..errors import UserError
from . import place
from .desk import DESK

_THUMBNAIL = 160
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


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
    def picture(path: str, full: bool = False) -> Response:
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
        if found.suffix.lower() not in _PICTURES:
            raise HTTPException(404, "no picture")
        with Image.open(found) as opened:
            if not full:
                opened.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
            picture = ImageOps.exif_transpose(opened)
            if not full:
                picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
            out = BytesIO()
            picture.convert("RGB").save(out, format="PNG")
    except UserError as error:
        raise HTTPException(403, str(error)) from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise HTTPException(404, f"{Path(path).name} cannot be read") from error
    return out.getvalue()
