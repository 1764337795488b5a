"""The studio's files: a page over the routes, served beside them."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from .threads import Threads

PREFIX = "/lora-trainer/studio"
_FOLDER = Path(__file__).resolve().parents[1] / "studio"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip
_INLINE = re.compile(rb"<script type=\"importmap\">(.*?)</script>", re.DOTALL)


def routes(threads: Threads) -> APIRouter:
    """The page at ``/lora-trainer/studio/``; its files hold no secret, so that everyone may read them."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("")
    async def without_slash() -> Response:
        # Relative, so that it is right under a sub-path, too.
        return RedirectResponse("studio/")

    @router.get("/{path:path}")
    async def file(path: str) -> Response:
        content = await threads.run(_content, path or "index.html")
        if content is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        return Response(content, headers=_headers(), media_type=_TYPES[Path(path or "index.html").suffix])

    return router


def _content(name: str) -> bytes | None:
    """A file of the studio; None where there is none of that name."""
    if name not in _names():
        return None
    return (_FOLDER / name).read_bytes()


@functools.cache
def _names() -> frozenset[str]:
    files = (path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    return frozenset(path.relative_to(_FOLDER).as_posix() for path in files)


@functools.cache
def _headers() -> dict[str, str]:
    """What a browser may do with the page: nothing is loaded from elsewhere, no other site may frame it."""
    match = _INLINE.search((_FOLDER / "index.html").read_bytes())
    digest = base64.b64encode(hashlib.sha256(match[1] if match else b"").digest()).decode()
    policy = (
        f"default-src 'self'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' blob:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    )
    return {"Content-Security-Policy": policy, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
