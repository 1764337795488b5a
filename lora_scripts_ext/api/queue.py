"""Routes of the queue as a whole."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from . import schemas
from .service import Service

_TAGS = ["queue"]


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    queue = service.queue

    def state() -> dict[str, Any]:
        return {"paused": queue.paused(), "counts": queue.counts()}

    @router.get("/queue", tags=_TAGS, response_model=schemas.QueueState, summary="Look at the queue")
    def get_queue() -> dict[str, Any]:
        return state()

    @router.post("/queue/pause", tags=_TAGS, response_model=schemas.QueueState, summary="Start no job any more")
    def pause() -> dict[str, Any]:
        """What runs goes on."""
        queue.pause(True)
        return state()

    @router.post("/queue/continue", tags=_TAGS, response_model=schemas.QueueState, summary="Start jobs again")
    def go_on() -> dict[str, Any]:
        queue.pause(False)
        service.wake()
        return state()
