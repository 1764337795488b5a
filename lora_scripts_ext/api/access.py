"""Who may call the routes: everyone on this machine, or who has a key."""

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
    """

    id: str = ""
    scope: Scope = "write"


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


def on_loopback() -> Access:
    """Everyone on this machine; the server listens on no other address."""

    async def allowed(request: Request) -> Caller:
        if not names_loopback(request.headers.get("host", "")):
            raise Problem(
                "forbidden",
                "This server answers only to the name of its own machine; use http://127.0.0.1 or http://localhost.",
            )
        require_same_site(request)
        return Caller()

    return allowed


def with_key(keys: Keys, threads: Threads) -> Access:
    """Whoever sends ``Authorization: Bearer KEY``."""

    async def allowed(request: Request) -> Caller:
        require_same_site(request)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        key = await threads.run(keys.find, token.strip()) if kind.lower() == "bearer" else None
        if key is None:
            raise Problem(
                "unauthorized",
                "A key is needed that is known here and not revoked; send Authorization: Bearer KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return Caller(key.id, key.scope)

    return allowed
