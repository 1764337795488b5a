"""Who may call the routes: everyone on this machine, or who has a key, in a header or in the cookie of a browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from ..library.keys import Keys
from .errors import Problem
from .origin import names_loopback, same_site
from .threads import Threads

Scope = Literal["read", "write"]
READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """Who is behind a request.

    Attributes:
        id: of the key; empty where none is needed.
        scope: ``read`` may only send GET.
        is_operator: whether it may give access to others.
        name: of the key; empty where none is needed.
    """

    id: str = ""
    scope: Scope = "write"
    is_operator: bool = False
    name: str = ""


#: someone without the key that is needed, at the routes that are there to hand one in
NOBODY = Caller(scope="read")
_CALLER = "lora_trainer_caller"

#: lets a request through, or raises ``Problem``
Access = Callable[[Request], Awaitable[Caller]]


def require_same_site(request: Request) -> None:
    """Refuse what a browser sends for another site's page.

    Raises:
        Problem: it is such a request.
    """
    if not same_site(request.headers):
        raise Problem(
            "forbidden",
            "This request comes from another site's page; the LoRA Trainer answers only its own.",
            remedy="Send it from a program, or from a page of this server.",
        )


def require_scope(request: Request, caller: Caller) -> None:
    """Refuse changes by those who may only read.

    Raises:
        Problem: the request would change something.
    """
    if caller.scope == "read" and request.method not in READING:
        raise Problem("forbidden", "This key may only read; use one that was added without --read-only.")


def note_caller(request: Request, caller: Caller) -> None:
    """Let ``caller_of`` know who it is."""
    request.scope[_CALLER] = caller


def caller_of(request: Request) -> Caller:
    """Who is behind a request that was let in."""
    caller: Caller = request.scope[_CALLER]
    return caller


def cookie_name(request: Request) -> str:
    """What the cookie with a browser's key is called: another server of this machine, at another port, has its own."""
    _, port = request.scope.get("server") or ("", None)
    return f"lora_trainer_{port or 0}"


def on_loopback() -> Access:
    """Everyone on this machine; the server listens on no other address."""

    async def allowed(request: Request) -> Caller:
        if not names_loopback(request.headers.get("host", "")):
            raise Problem(
                "forbidden",
                "This server answers only to the name of its own machine; use http://127.0.0.1 or http://localhost.",
            )
        require_same_site(request)
        return Caller(is_operator=True)

    return allowed


def with_key(keys: Keys, threads: Threads) -> Access:
    """Whoever sends ``Authorization: Bearer KEY``, or the cookie that ``POST /session`` has set."""

    async def allowed(request: Request) -> Caller:
        require_same_site(request)
        header = request.headers.get("authorization")
        if header is None:
            secret = request.cookies.get(cookie_name(request), "")
            if secret:
                _require_origin(request)
        else:
            kind, _, token = header.partition(" ")
            secret = token.strip() if kind.lower() == "bearer" else ""
        key = await threads.run(keys.find, secret) if secret else None
        if key is None:
            raise Problem(
                "unauthorized",
                "A key is needed that is known here and not revoked; send Authorization: Bearer KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return Caller(key.id, key.scope, name=key.name)

    return allowed


def _require_origin(request: Request) -> None:
    """Refuse changes with a cookie that do not say which page they come from: every browser says it, and a cookie is
    sent by a browser whoever has made it do so.

    Raises:
        Problem: it is such a request.
    """
    if request.method not in READING and not {"origin", "sec-fetch-site"} & set(request.headers):
        raise Problem(
            "forbidden",
            "A change with a cookie must say which page it comes from; a program sends Authorization: Bearer KEY.",
        )
