"""Routes of a model's watch: the folder that its new images arrive in, and the hour at which they are trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from .. import json_text
from ..jobs import watch_options, watching
from ..jobs.view import job_view
from ..jobs.watch_options import WatchOptions
from ..jobs.watch_view import watch_view
from ..library.models import Models
from ..library.watches import Watches
from .idempotency import Answer
from .route import json_response
from .schemas import WholeJob, given
from .service import Service

_TAGS = ["models"]
_HELP = {field.name: field.metadata["help"] for field in dataclasses.fields(WatchOptions)}
_TEXT = 4000


class WatchIn(BaseModel, extra="forbid"):
    """How a model is watched; what is left out takes its default."""

    folder: str = Field(default="", max_length=_TEXT, description=_HELP["folder"])
    hour: str = Field(default="02:00", max_length=20, description=_HELP["hour"])
    fetch: str = Field(default="", max_length=100, description=_HELP["fetch"])
    settle_seconds: float = Field(default=60.0, description=_HELP["settle_seconds"])
    new_images: int = Field(default=4, description=_HELP["new_images"])
    captioner: str = Field(default="auto", max_length=100, description=_HELP["captioner"])
    caption_model: str = Field(default="", max_length=_TEXT, description=_HELP["caption_model"])
    endpoint: str = Field(default="", max_length=_TEXT, description=_HELP["endpoint"])
    key_from: str = Field(default="", max_length=200, description=_HELP["key_from"])
    steps: int = Field(default=0, description=_HELP["steps"])
    train: dict[str, Any] = Field(default_factory=dict, description=_HELP["train"])


class FetchedOut(BaseModel):
    """The last run of a fetch command."""

    outcome: str = Field(description="How it ended, as a sentence; empty while it runs.")
    code: int | None = Field(description="Its exit code; null where it could not be started.")
    day: str | None
    started: str
    ended: str | None


class WatchOut(WatchIn):
    """A watch."""

    model: str
    attended: str | None = Field(description="The last day whose hour has been attended to.")
    job: str | None = Field(description="The update that was queued then.")
    fetched: FetchedOut | None
    created: str
    changed: str


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models, watches = Models(service.database), Watches(service.database)

    @router.get("/models/{id}/watch", tags=_TAGS, response_model=WatchOut, summary="Look at a model's watch")
    def get_watch(id: str) -> dict[str, Any]:
        return watch_view(service.database, watches.get(models.get(id).id))

    @router.put("/models/{id}/watch", tags=_TAGS, response_model=WatchOut, summary="Watch a folder for a model")
    def put_watch(id: str, wanted: WatchIn) -> dict[str, Any]:
        """New images in the folder are trained on at the hour; the next version is published if it is no worse."""
        model = models.get(id)
        config = watch_options.checked(given(wanted), models, service.environment, model)
        watch = watches.put(model.id, config["folder"], config, service.environment.base_model())
        return watch_view(service.database, watch)

    @router.delete("/models/{id}/watch", status_code=204, tags=_TAGS, summary="Watch no more")
    def delete_watch(id: str) -> Response:
        """Images and versions stay."""
        watches.remove(models.get(id).id)
        return Response(status_code=204)

    @router.post(
        "/models/{id}/watch/run", status_code=201, tags=_TAGS, response_model=WholeJob,
        summary="Train on the new images at once",
    )  # fmt: skip
    def run_watch(id: str) -> Response:
        """However few there are."""
        update = watching.update(service.environment, models.get(id).id)
        with service.database.writing():
            (job,) = service.queue.add([update])
            view = job_view(service.queue, job, whole=True)
            location = f"{router.prefix}/jobs/{job.id}"
            service.requests.keep(Answer(201, json_text.dumps(view), location))
        service.wake()
        return json_response(view, 201, {"Location": location})
