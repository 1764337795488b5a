"""Routes of configs: their schema, presets, and what a training would take."""

from __future__ import annotations

import functools
import types
import typing
from typing import Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from .. import config, form_fields, json_text, presets
from ..config import FIELDS, Config
from ..config_check import PATHS
from ..errors import NotFound
from ..jobs.estimate import estimate
from ..jobs.kinds import registry
from . import schemas
from .route import json_body
from .schemas import EstimateIn
from .service import Service

_TAGS = ["configs"]
_TYPES = typing.get_type_hints(Config)
_NAMES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""

    @router.get("/config/schema", tags=_TAGS, response_model=schemas.ConfigSchema, summary="The keys of a training")
    def get_schema() -> Response:
        """What a form needs: label, help, type, choices, range, default, group."""
        return json_body(_schema())

    @router.get("/presets", tags=_TAGS, response_model=schemas.Presets, summary="List presets")
    def list_presets() -> dict[str, Any]:
        return {"items": [_preset(name) for name in presets.NAMES]}

    @router.get("/presets/{name}", tags=_TAGS, response_model=schemas.Preset, summary="Look at a preset")
    def get_preset(
        name: str, images: int = Query(0, ge=0, description="Scaled to so many images; 0: as it is.")
    ) -> dict[str, Any]:
        if name not in presets.NAMES:
            raise NotFound(f"There is no preset {name[:40]!r}; there are {', '.join(presets.NAMES)}.")
        return _preset(name, images)

    @router.post("/estimate", tags=_TAGS, response_model=schemas.Estimate, summary="What a training would take")
    def get_estimate(wanted: EstimateIn) -> dict[str, Any]:
        """Images, steps, time, memory and file size; nothing is trained. Times are without previews."""
        return estimated(service, wanted.config)


def estimated(service: Service, values: dict[str, Any]) -> dict[str, Any]:
    """What a training with these keys would take, ready for JSON.

    Raises:
        UserError: it could not start.
    """
    plan = registry.by_name("train").plan(values, service.environment, "config")
    parsed = config.from_dict(plan.config, "config", plan.notes)
    found = estimate(parsed, service.environment.inspection(parsed))
    facts = found.run.to_dict()
    del facts["dry_run"]
    return {**facts, "seconds": found.seconds, "device": found.device_type, "notes": list(parsed.notes)}


@functools.cache
def _schema() -> bytes:
    """All keys in the order of the form, then those that no form asks for, as JSON."""
    keys = [*form_fields.KEYS, *(key for key in FIELDS if key not in form_fields.KEYS)]
    return json_text.dumps(
        {"keys": [_key(key) for key in keys], "groups": [*form_fields.FOLDED, form_fields.BASE_MODEL]}
    ).encode()


def _key(key: str) -> dict[str, Any]:
    bounds = FIELDS[key].metadata
    kind, nullable = _TYPES[key], False
    if isinstance(kind, types.UnionType):
        nullable = True
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    items, choices = None, None
    if typing.get_origin(kind) is Literal:
        choices, name = list(typing.get_args(kind)), "string"
    elif typing.get_origin(kind) is list:
        items, name = _NAMES[typing.get_args(kind)[0]], "array"
    elif typing.get_origin(kind) is dict:
        name = "object"
    else:
        name = _NAMES[kind]
    return {
        "key": key, "label": form_fields.label(key), "help": form_fields.help_text(key), "type": name, "items": items,
        "nullable": nullable, "choices": choices,
        "choice_labels": choices and [form_fields.choice_label(key, one) for one in choices],
        "minimum": bounds["low"], "maximum": bounds["high"], "above": bounds["above"],
        "default": config.default(key), "group": form_fields.group(key),
        "shown": _shown(key), "path": key in PATHS,
    }  # fmt: skip


def _shown(key: str) -> str:
    """Where a form shows a key: at once, folded away, folded away outside of a WebUI, or nowhere."""
    if key in form_fields.SHOWN:
        return "first"
    if key in form_fields.STANDALONE:
        return "standalone"
    return "folded" if key in form_fields.KEYS else "never"


def _preset(name: str, images: int = 0) -> dict[str, Any]:
    title = presets.NAMES[name]
    return {"name": name, "title": title, "config": presets.values(title, images or None)}
