"""Requests to another WebUI, at the address that the operator has named and nowhere else."""

from __future__ import annotations

import base64
import http.client
import json
import os
from typing import Any
from urllib.parse import urlsplit

from ...captioning import exchange
from ...errors import UserError

_SECONDS = 30.0


class NotThere(Exception):
    """The WebUI has no such route."""


class Client:
    """A WebUI that was started with ``--api``."""

    def __init__(self, address: str, login_from: str = "") -> None:
        """Check the address; nothing is sent yet.

        Args:
            address: such as ``http://127.0.0.1:7860``.
            login_from: the environment variable that holds what ``--api-auth`` names, ``USER:PASSWORD``; empty for
                a WebUI without.

        Raises:
            UserError: the address is none, or the variable is not set.
        """
        try:
            parts = urlsplit(address)
            named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            named = False
        if not named or "@" in parts.netloc or parts.query or parts.fragment:
            raise UserError(
                f"The address of the WebUI is {address.rpartition('@')[2][:200] or 'empty'}; give one such as "
                "http://127.0.0.1:7860, without a password."
            )
        self.address = address.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if login_from:
            login = os.environ.get(login_from)
            if not login:
                raise UserError(
                    f"There is no environment variable {login_from} with the WebUI's USER:PASSWORD; set it."
                )
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def get(self, path: str) -> Any:
        """The JSON of the response.

        Raises:
            UserError: the WebUI cannot be reached, or does not respond as one does.
            NotThere: it has no such route.
        """
        return self._json(path, None, _SECONDS, exchange.LARGEST * 16)

    def post(self, path: str, body: dict[str, Any], *, seconds: float = _SECONDS, megabytes: int = 16) -> Any:
        """As :meth:`get`, with a body to send, waiting for at most ``seconds`` for at most ``megabytes``."""
        return self._json(path, json.dumps(body).encode(), seconds, megabytes << 20)

    def _json(self, path: str, body: bytes | None, seconds: float, largest: int) -> Any:
        url = f"{self.address}/{path}"
        try:
            response = exchange.post(url, body, self._headers, seconds=seconds, largest=largest)
            return json.loads(response)
        except exchange.Refused as refused:
            if refused.status in (404, 405):
                raise NotThere from refused
            raise UserError(f"{url} answers {refused.status}; {_help(refused.status)}") from refused
        except TimeoutError as error:
            raise UserError(f"{url} gives no response within {seconds:g} seconds; look at its own console.") from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{url} gives no response that can be read ({reason}); is the WebUI running?") from error


def _help(status: int) -> str:
    if status in (401, 403):
        return "name the environment variable that holds its USER:PASSWORD of --api-auth."
    if 300 <= status < 400:
        return "it redirects to another address, which is not followed; name the address that the WebUI really has."
    return "its own console says why."
