"""Captions from an OpenAI-compatible service that the user names. Nothing is sent anywhere else."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import unicodedata
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..captions.fields import Fields
from ..errors import UserError
from . import exchange
from .base import CaptionerOptions, CaptionInput

_LONGEST = 20_000
_ASK = (
    "Describe this product photo for training an image model. Answer with one JSON object and nothing else: "
    '{"subject": "what it is", "attributes": ["colour", "material", "..."], "scene": "surroundings and angle", '
    '"style": "light and look"}. Use short phrases, no sentences.'
)


class Endpoint:
    """Asks for the four fields; takes a plain-text response as the subject."""

    name = "endpoint"
    looks = True
    batch = 1

    def __init__(self, options: CaptionerOptions) -> None:
        """Check the options; nothing is sent yet.

        Raises:
            UserError: no address is named, or the key's variable is not set.
        """
        parts = _split(options.endpoint)
        path = parts.path.rstrip("/") + "/chat/completions"
        self._url = parts._replace(path=path, fragment="").geturl()
        # A query may hold a key: sentences name the endpoint without it.
        self._shown = parts._replace(path=path, query="", fragment="").geturl()
        self._model = options.model or "default"
        self._headers = {"Content-Type": "application/json"}
        if options.key_from:
            self._headers["Authorization"] = f"Bearer {_key(options.key_from)}"

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """What the service says of each image.

        Raises:
            UserError: it cannot be reached, or its response is unusable.
        """
        return [parse(self._ask(one)) for one in images]

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self, source: CaptionInput) -> str:
        packed = io.BytesIO()
        source.image.save(packed, format="JPEG", quality=90)
        data_url = f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
        content = [{"type": "text", "text": _ASK}, {"type": "image_url", "image_url": {"url": data_url}}]
        body = {"model": self._model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        try:
            return _content(exchange.post(self._url, json.dumps(body).encode(), self._headers))
        except exchange.Refused as refused:
            raise UserError(f"{self._shown} {_why(refused.status)}") from refused
        except (OSError, ValueError, LookupError, TypeError, RecursionError, http.client.HTTPException) as error:
            reason = _plain(str(error)) or type(error).__name__
            raise UserError(f"{self._shown} gives no response that can be read ({reason}); is it running?") from error


def _split(endpoint: str) -> SplitResult:
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
            "http://127.0.0.1:8000/v1; images are sent there and nowhere else."
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
    return _plain(content)


def _plain(text: str) -> str:
    """``text`` without control characters, which a terminal would obey, and lone surrogates, which no file can hold."""
    return "".join(" " if unicodedata.category(one) in ("Cc", "Cs") else one for one in text)


def parse(response: str) -> Fields:
    """The fields of a response: of its JSON object, or the whole text as subject."""
    first, last = response.find("{"), response.rfind("}")
    try:
        parsed: Any = json.loads(response[first : last + 1])
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return Fields(subject=" ".join(response.split()).rstrip("."))
    attributes = parsed.get("attributes") or []
    listed = attributes if isinstance(attributes, list) else str(attributes).split(",")
    return Fields(
        subject=_words(parsed.get("subject")),
        attributes=tuple(filter(None, map(_words, listed))),
        scene=_words(parsed.get("scene")),
        style=_words(parsed.get("style")),
    )


def _words(value: Any) -> str:
    """A field of the response; JSON's escapes can spell what :func:`_plain` takes away."""
    return " ".join(_plain(str(value or "")).split())
