"""Routes of what users may set, and of what only the operator can, who edits a file for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.requests import Request

from ..errors import UserError
from ..jobs import service_file, settings
from ..jobs.service_file import ServiceFile
from ..jobs.settings import Setting, Settings
from ..library.fetches import Fetches
from ..library.models import FOLDER
from ..time_text import iso
from . import server_schemas as schemas
from .access import caller_of
from .route import reads_files
from .server_schemas import SettingsIn
from .service import Service
from .webhooks import last_delivery

_TAGS = ["system"]


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""

    @router.get("/settings", tags=_TAGS, response_model=schemas.ServerSettings, summary="Look at the settings")
    @reads_files
    def get_settings(request: Request) -> dict[str, Any]:
        """And at what only the operator can change, without any secret."""
        return _view(service, request)

    @router.patch("/settings", tags=_TAGS, response_model=schemas.ServerSettings, summary="Change settings")
    @reads_files
    def change_settings(request: Request, wanted: SettingsIn) -> dict[str, Any]:
        """All of them, or none where a value is wrong."""
        settings.change(service.settings, wanted.values)
        service.wake()
        return _view(service, request)


def _view(service: Service, request: Request) -> dict[str, Any]:
    environment, is_operator = service.environment, caller_of(request).is_operator
    try:
        file, problem = service_file.load(service.database.folder), ""
    except UserError as error:
        # It may cite what is in the file.
        text = str(error) if is_operator else "It holds something that is not understood; its operator can see what."
        file, problem = ServiceFile(), text
    path = service.database.folder / service_file.NAME
    return {
        "settings": [_setting(service.settings, one) for one in service.settings.all],
        "facts": {
            "data_dir": _absolute(service.database.folder),
            "lora_dir": _absolute(environment.lora_dir() or service.database.folder / FOLDER),
            "roots": [_absolute(root) for root in environment.roots()], "keys": environment.uses_keys and is_operator,
        },
        "service_file": {"path": _absolute(path), "exists": path.is_file(), "problem": problem},
        "webhooks": [
            {
                "name": name, "url": _shown(hook.url, is_operator), "events": list(hook.events),
                "last": last_delivery(service.database, name),
            }
            for name, hook in file.webhooks.items()
        ],
        "fetch": _fetches(service, file),
        "endpoints": [{"name": name, "url": _shown(one.url, True)} for name, one in file.endpoints.items()],
    }  # fmt: skip


def _setting(all_settings: Settings, one: Setting) -> dict[str, Any]:
    limits = {"minimum": one.low, "maximum": one.high}
    return {
        "key": one.key, "group": one.group, "label": one.label, "help": one.help, "type": one.type,
        "choices": list(one.choices) or None, "choice_labels": list(one.choices) or None,
        "value": all_settings.get(one.key), "default": one.default,
        "editable": all_settings.is_editable(one.key), "where": all_settings.where,
        "needs": {"key": one.needs[0], "value": one.needs[1]} if one.needs else None,
        **{name: limit if math.isfinite(limit) else None for name, limit in limits.items()},
    }  # fmt: skip


def _fetches(service: Service, file: ServiceFile) -> list[dict[str, Any]]:
    """The programs that bring images, without their arguments, which may hold anything."""
    runs = Fetches(service.database)
    views = []
    for name, fetch in file.fetch.items():
        last = runs.get(name)
        views.append({
            "name": name, "hour": fetch.hour,
            "last": None if last is None else {"at": iso(last.started), "outcome": last.outcome, "code": last.code},
        })  # fmt: skip
    return views


def _shown(url: str, whole: bool) -> str:
    """An address without user, password and query; without its path, too, unless ``whole``: some services tell who may
    write to them by that alone."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path if whole else ''}"


def _absolute(path: Path) -> str:
    return str(path.absolute())
