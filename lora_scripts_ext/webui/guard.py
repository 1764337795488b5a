"""Who may call the trainer's routes.

A request that a browser makes for another site's page is refused. Where the WebUI has a login or an API password, one
of them is needed, as for the WebUI's own routes. With only ``--api-auth`` the page itself is open to everyone who can
reach it, and with it all that its buttons do: the key that is part of the page then stands for the password, for
reading and for changing, so that the studio in the page works and scripts still need the password. Another site's page
cannot read the key, and the browser does not send the cookie with it for that site (``SameSite=Strict``). A refusal
carries no ``WWW-Authenticate``: the page asks every second, and each one would open a login box.

The Host header is not checked: whoever gets a browser to take another name for this server has the WebUI's whole page.
"""

from __future__ import annotations

import base64
import secrets

from fastapi import HTTPException, Request

from ..api.access import Caller
from ..api.origin import same_site
from . import paths

#: what the page's own requests carry: in this header, as ``page`` in the query, or, as those of the studio in its frame
#: do, in a cookie whose name begins so and ends with the port; cookies are the same for all ports of a machine
KEY = secrets.token_urlsafe(24)
HEADER = "X-LoRA-Trainer-Page"
COOKIE = "lora-trainer-page-"


def allowed(request: Request) -> None:
    """Let a request through.

    Raises:
        HTTPException: 403 for another site's, 401 for one without the login or password that the WebUI asks for.
    """
    if not same_site(request.headers):
        raise HTTPException(403, "This request comes from another site's page; the LoRA Trainer answers only its own.")
    if not _known(request):
        raise HTTPException(401, "Log in to the WebUI first, or send the user and password of --api-auth.")


async def caller(request: Request) -> Caller:
    """Let a request of the API through.

    Raises:
        HTTPException: as ``allowed``.
    """
    allowed(request)
    # Whoever may be anyone must not give access to others.
    return Caller(is_operator=_is_logged_in(request) or not paths.roots())


def _known(request: Request) -> bool:
    login, password = getattr(request.app, "auth", None), paths.flag("api_auth")
    if login is None and not password:
        return True
    return _is_logged_in(request) or (login is None and _from_page(request))


def _is_logged_in(request: Request) -> bool:
    """Whether it has the WebUI's login or the API's password."""
    password = paths.flag("api_auth")
    if password and _has_password(request.headers.get("authorization", ""), password):
        return True
    if getattr(request.app, "auth", None) is None:
        return False
    names = [name for name in request.cookies if name.startswith("access-token")]
    return any(request.cookies[name] in request.app.tokens for name in names)


def _from_page(request: Request) -> bool:
    keys = [request.headers.get(HEADER, ""), request.query_params.get("page", "")]
    keys += [value for name, value in request.cookies.items() if name.startswith(COOKIE)]
    return any(secrets.compare_digest(key.encode(), KEY.encode()) for key in keys)


def _has_password(header: str, known: str) -> bool:
    kind, _, credentials = header.partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        decoded = base64.b64decode(credentials)
    except ValueError:
        return False
    return any(secrets.compare_digest(decoded, pair.strip().encode()) for pair in known.split(","))
