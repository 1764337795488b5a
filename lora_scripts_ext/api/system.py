"""Routes of the server itself, and the document of all routes."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi

from .. import __version__, memory_limits
from ..captioning import choose
from ..jobs.kinds import registry
from . import schemas
from .errors import CODES, MEDIA_TYPE
from .service import Service

_KEPT_SECONDS = 2.0
_TAGS = ["system"]
Value = TypeVar("Value")
_DESCRIPTION = """\
Train LoRAs as jobs that outlive the server. Errors are problem JSON with a stable `code`, the `field` and the `remedy`;
`POST` takes an `Idempotency-Key`. See docs/api.md for examples.
"""


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    queue = service.queue
    memory = _remembered(memory_limits.available)
    disk = _remembered(lambda: _disk_free(service.database.folder))
    device = _remembered(_device)

    @router.get("/system", tags=_TAGS, response_model=schemas.System, summary="The server, its model, its memory")
    def get_system() -> dict[str, Any]:
        return {
            "version": __version__, "host": service.environment.runner,
            "base_model": service.environment.base_model(), "device": device(), "memory_free_bytes": memory(),
            "disk_free_bytes": disk(), "data_dir": str(service.database.folder),
            "queue": {"paused": queue.paused(), "counts": queue.counts()}, "kinds": list(registry.KINDS),
            "keys": service.environment.uses_keys,
            "captioners": [
                {"name": name, "needs": needs, "options": list(options)} for name, needs, options in choose.known()
            ],
            "limits": asdict(service.limits), "streams": service.feed.count,
        }  # fmt: skip


def openapi(router: APIRouter) -> dict[str, Any]:
    """The OpenAPI document of the routes."""
    document: dict[str, Any] = get_openapi(
        title="LoRA Trainer", version=__version__, description=_DESCRIPTION, routes=router.routes
    )
    components = document.setdefault("components", {})
    schemas_out = components.setdefault("schemas", {})
    # FastAPI adds its own form of validation errors to every route; ours is one for all.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas_out.pop(name, None)
    schemas_out["Problem"] = _problem_schema()
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"key": []}]
    answer = {
        "description": "What went wrong, as problem JSON",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
    return document


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "title": "Problem", "description": "What went wrong (RFC 9457).", "type": "object",
        "required": ["type", "title", "status", "detail", "code", "field", "remedy"],
        "properties": {
            "type": text, "title": text, "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is wrong, in a sentence."},
            "code": {"type": "string", "enum": sorted(CODES), "description": "It stays the same."},
            "field": {
                "type": ["string", "null"], "description": "Field of the request or key of the config, dotted."
            },
            "remedy": {"type": "string", "description": "What to do."},
        },
    }  # fmt: skip


def _remembered(look: Callable[[], Value]) -> Callable[[], Value]:
    """``look``, whose result is used again for a moment: many clients ask at once."""
    lock = threading.Lock()
    kept: list[tuple[float, Value]] = []

    def remembered() -> Value:
        with lock:
            if not kept or time.monotonic() - kept[0][0] > _KEPT_SECONDS:
                kept[:] = [(time.monotonic(), look())]
            return kept[0][1]

    return remembered


def _disk_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _device() -> dict[str, Any]:
    """The device that trainings run on; sizes in bytes."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return {"type": "cuda", "name": torch.cuda.get_device_name(), "total_bytes": total, "free_bytes": free}
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    return {"type": kind, "name": _processor(), "total_bytes": None, "free_bytes": memory_limits.available()}


@functools.cache
def _processor() -> str:
    import platform

    return platform.processor() or platform.machine()
