"""Routes with which a browser hands in a key once: from then on its cookie does what the header does elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..library.keys import Keys
from . import server_schemas as schemas
from .access import NOBODY, Caller, caller_of, cookie_name
from .errors import Problem
from .limits import RateLimit
from .route import holds_secret, json_response, without_key
from .server_schemas import SessionIn
from .service import Service

_TAGS = ["system"]
_SECONDS = 30 * 24 * 3600


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    keys = Keys(service.database)
    tries = RateLimit(service.limits.logins, service.limits.login_burst)

    @router.get("/session", tags=_TAGS, response_model=schemas.Session, summary="Whether a key is needed")
    @without_key
    def get_session(request: Request) -> dict[str, Any]:
        """Can be asked without one."""
        return _view(caller_of(request))

    @router.post("/session", tags=_TAGS, response_model=schemas.Session, summary="Log a browser in")
    @without_key
    @holds_secret
    def log_in(request: Request, sent: SessionIn) -> Response:
        """Sets a cookie that scripts cannot read and other sites' pages cannot use. It lasts for 30 days, or until the
        key is revoked."""
        if not _view(caller_of(request))["needed"]:
            return json_response(_view(caller_of(request)))
        _count_try(tries, request)
        key = keys.find(sent.key.strip())
        if key is None:
            raise Problem(
                "unauthorized",
                "key: it is not known here, or was revoked; check that it was copied whole.",
                field="key",
            )
        cookie = _cookie(request, sent.key.strip(), _SECONDS)
        return json_response(_view(Caller(key.id, key.scope)), headers={"Set-Cookie": cookie})

    @router.delete("/session", status_code=204, tags=_TAGS, summary="Log a browser out")
    @without_key
    def log_out(request: Request) -> Response:
        """The key itself stays as it is."""
        return Response(status_code=204, headers={"Set-Cookie": _cookie(request, "", 0)})


def _view(caller: Caller) -> dict[str, Any]:
    return {"needed": caller == NOBODY or bool(caller.id), "scope": None if caller == NOBODY else caller.scope}


def _count_try(tries: RateLimit, request: Request) -> None:
    try:
        tries.take(request.client.host if request.client else "")
    except Problem as problem:
        wait = problem.headers["Retry-After"]
        text = f"Too many keys were tried from this address; wait {wait} s, then try again."
        raise Problem("too_many_requests", text, headers=problem.headers) from problem


def _cookie(request: Request, value: str, seconds: int) -> str:
    """The header that sets the cookie, or, with 0 ``seconds``, removes it.

    It names no path: the browser then takes the address of these routes as it knows it, also where a proxy or a
    sub-path puts something before ``/lora-trainer/v1``.
    """
    # A proxy that speaks https to the browser says so; who makes it up only locks the own cookie in.
    by_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").split(",")[0].strip())
    secure = "; Secure" if by_https else ""
    return f"{cookie_name(request)}={value}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
