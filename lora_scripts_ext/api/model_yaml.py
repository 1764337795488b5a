"""Routes of a model's settings as a config file: written for ``train.py``, and read into the draft."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from ..errors import UserError
from ..jobs import model_config
from ..library.models import Models
from .route import json_response, reads_files
from .service import Service

_TAGS = ["models"]
_TYPE = "application/yaml"
_TEXT = {_TYPE: {"schema": {"type": "string"}}}


class DraftRead(BaseModel):
    """What became of a config file."""

    config: dict[str, Any] = Field(description="The model's new draft.")
    notes: list[str] = Field(description="What was translated or left out, as sentences.")


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    models = Models(service.database)

    @router.get(
        "/models/{id}/config.yaml", tags=_TAGS, summary="Fetch a model's settings as a file", response_class=Response,
        responses={200: {"description": "YAML", "content": _TEXT}},
    )  # fmt: skip
    @reads_files
    def get_config(id: str) -> Response:
        """Preset and draft together, as `train.py --config` takes it."""
        model = models.get(id)
        text = model_config.to_yaml(models, service.environment, model)
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(model.name)}.yaml",
            "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
        }  # fmt: skip
        return Response(text.encode(), headers=headers, media_type=_TYPE)

    @router.put(
        "/models/{id}/config.yaml", tags=_TAGS, response_model=DraftRead, summary="Read a model's settings from a file",
        openapi_extra={"requestBody": {"required": True, "content": _TEXT}},
    )  # fmt: skip
    async def put_config(id: str, request: Request) -> Response:
        """Replaces the draft. Other trainers' keys are translated; images, name and trigger word stay the model's."""
        return await service.file_threads.run(read_in, id, await request.body())

    def read_in(id: str, body: bytes) -> Response:
        model = models.get(id)
        draft, notes = model_config.from_yaml(models, service.environment, model, _text(body))
        models.change(id, config=draft)
        return json_response({"config": draft, "notes": notes})


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UserError(f"config: line {line} is not UTF-8; save the file as UTF-8 text.") from error
