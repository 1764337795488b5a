"""Routes of the keys, for those who need none themselves."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..library.keys import Key, Keys
from ..time_text import iso
from . import server_schemas as schemas
from .access import caller_of
from .errors import Problem
from .route import holds_secret, json_response
from .server_schemas import KeyIn
from .service import Service

_TAGS = ["system"]


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    keys = Keys(service.database)

    @router.get("/keys", tags=_TAGS, response_model=schemas.KeyList, summary="List the keys")
    def list_keys(request: Request) -> dict[str, Any]:
        """Without their secrets."""
        _require_operator(request)
        return {"items": [_view(key) for key in keys.all()]}

    @router.post("/keys", status_code=201, tags=_TAGS, response_model=schemas.NewKey, summary="Make a key")
    @holds_secret
    def add_key(request: Request, wanted: KeyIn) -> Response:
        """For a program or a browser on another machine. An `Idempotency-Key` has no effect: nothing of the answer is
        kept."""
        _require_operator(request)
        key, secret = keys.add(wanted.name, wanted.scope)
        return json_response({**_view(key), "key": secret}, 201)

    @router.delete("/keys/{id}", status_code=204, tags=_TAGS, summary="Revoke a key")
    def revoke_key(request: Request, id: str) -> Response:
        """It opens nothing from the next request on; the list still has it."""
        _require_operator(request)
        keys.revoke(id)
        return Response(status_code=204)


def _require_operator(request: Request) -> None:
    """Refuse those who may not give access to others.

    Raises:
        Problem: the caller is one of them.
    """
    if not caller_of(request).is_operator:
        raise Problem(
            "forbidden",
            "Keys are managed only on the machine itself, or in a WebUI by those who are logged in there.",
            remedy="Run `python -m lora_scripts_ext keys` on the server.",
        )


def _view(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "name": key.name, "scope": key.scope, "created": iso(key.created), "revoked": iso(key.revoked),
    }  # fmt: skip
