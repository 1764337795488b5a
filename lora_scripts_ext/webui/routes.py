"""The routes that the WebUI's server gets: the API, the studio, and what its page shows outside of the studio."""

from __future__ import annotations

import html
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import HTMLResponse

from ..api import studio
from ..api.app import routes as api_routes
from ..errors import UserError
from . import guard, paths
from .page import status
from .service import service


def add(_blocks: Any, app: FastAPI) -> None:
    """Add the routes to the WebUI's server; where the library cannot be opened, the tab says why."""
    try:
        opened = service()
    except UserError as error:
        paths.print_line(str(error))
        problem = HTMLResponse(f"<p>LoRA Trainer: {html.escape(str(error))}</p>")
        app.add_api_route(f"{studio.PREFIX}/", lambda: problem, include_in_schema=False)
        return
    router = APIRouter(prefix="/lora-trainer", dependencies=[Depends(guard.caller)])

    @router.get("/page")
    async def page() -> dict[str, Any]:
        # Threads of our own: blocked requests of txt2img may have used up those that plain functions run in.
        return await opened.api.threads.run(status, opened.queue)

    app.include_router(router)
    app.include_router(api_routes(opened.api, guard.caller))
    app.include_router(studio.routes(opened.api.threads))
