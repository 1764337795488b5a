"""Questions to an OpenAI-compatible service that the user names. Nothing is sent anywhere else."""

from __future__ import annotations

import http.client
import json
import os
import unicodedata
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..errors import UserError
from . import exchange

_LONGEST = 20_000


class Chat:
    """A model of the service, which is asked one question at a time."""

    def __init__(self, endpoint: str, model: str, key_from: str, what: str = "images") -> None:
        """Check the options; nothing is sent yet.

        Args:
            endpoint: address of the service, such as ``http://127.0.0.1:8000/v1``.
            model: as the service calls it; empty takes its default.
            key_from: environment variable that holds the key; empty where it needs none.
            what: is sent there, for the sentence of an error.

        Raises:
            UserError: no address is named, or the key's variable is not set.
        """
        parts = _split(endpoint, what)
        path = parts.path.rstrip("/") + "/chat/completions"
        self._url = parts._replace(path=path, fragment="").geturl()
        # A query may hold a key: sentences name the endpoint without it.
        self._shown = parts._replace(path=path, query="", fragment="").geturl()
        self._model = model or "default"
        self._headers = {"Content-Type": "application/json"}
        if key_from:
            self._headers["Authorization"] = f"Bearer {_key(key_from)}"

    def ask(self, content: str | list[dict[str, Any]], temperature: float = 0) -> str:
        """The model's answer to a message: a text, or a list of texts and images as OpenAI has them.

        Raises:
            UserError: the service cannot be reached, or its response is unusable.
        """
        messages = [{"role": "user", "content": content}]
        body = {"model": self._model, "messages": messages, "temperature": temperature}
        try:
            return _content(exchange.post(self._url, json.dumps(body).encode(), self._headers))
        except exchange.Refused as refused:
            raise UserError(f"{self._shown} {_why(refused.status)}") from refused
        except (OSError, ValueError, LookupError, TypeError, RecursionError, http.client.HTTPException) as error:
            reason = plain(str(error)) or type(error).__name__
            raise UserError(f"{self._shown} gives no response that can be read ({reason}); is it running?") from error


def plain(text: str) -> str:
    """``text`` without control characters, which a terminal would obey, and lone surrogates, which no file can hold."""
    return "".join(" " if unicodedata.category(one) in ("Cc", "Cs") else one for one in text)


def json_object(response: str) -> dict[str, Any] | None:
    """The JSON object in a response, whatever stands around it; None where there is none."""
    first, last = response.find("{"), response.rfind("}")
    try:
        parsed: Any = json.loads(response[first : last + 1])
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def words(value: Any) -> str:
    """A value of such an object on one line; JSON's escapes can spell what :func:`plain` takes away."""
    return " ".join(plain(str(value or "")).split())


def _split(endpoint: str, what: str) -> SplitResult:
    """The endpoint URL in its parts.

    Raises:
        UserError: it is none, or holds a password, which would end up in logs.
    """
    try:
        parts = urlsplit(endpoint)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise UserError(
            f"endpoint is {endpoint.rpartition('@')[2] or 'empty'}: name the address of the service, such as "
            f"http://127.0.0.1:8000/v1; {what} are sent there and nowhere else."
        )
    if "@" in parts.netloc:
        raise UserError(
            f"endpoint {parts.scheme}://…@{parts.netloc.rpartition('@')[2]} holds a user name or password; put the key "
            "into an environment variable and name that one in key_from."
        )
    return parts


def _key(variable: str) -> str:
    """The service's key.

    Raises:
        UserError: the variable is not set, or holds what no key can be. The key is not part of the sentence.
    """
    key = os.environ.get(variable)
    if key is None:
        raise UserError(f"key_from is {variable}: there is no environment variable of this name.")
    if not key.strip().isascii() or not key.strip().isprintable():
        raise UserError(f"key_from is {variable}: what it holds is no key; it has line breaks or unusual characters.")
    return key.strip()


def _why(status: int) -> str:
    """What the status of a refusal means; the service's own words are not repeated."""
    if 300 <= status < 400:
        return (
            f"answers {status}: it wants to redirect the request to another address, which is not followed; name the "
            "address that the service really has."
        )
    known = {one.value: one.phrase for one in HTTPStatus}
    return f"answers {status} ({known.get(status, 'unknown')}); check address, model, key."


def _content(response: bytes) -> str:
    """The model's text.

    Raises:
        ValueError, LookupError, TypeError, RecursionError: the response is unusable.
    """
    content = json.loads(response)["choices"][0]["message"]["content"]
    if not isinstance(content, str):
        raise TypeError("it holds no text")
    if len(content) > _LONGEST:
        raise ValueError(f"{len(content)} characters are no caption")
    return plain(content)
