"""Captions from an OpenAI-compatible service that the user names. Nothing is sent anywhere else."""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import UserError
from .base import Seen, Wanted
from .fields import Fields

_SECONDS = 120
_ASK = (
    "Describe this product photo for training an image model. Answer with one JSON object and nothing else: "
    '{"subject": "what it is", "attributes": ["colour", "material", "..."], "scene": "surroundings and angle", '
    '"style": "light and look"}. Use short phrases, no sentences.'
)


class Endpoint:
    """Asks for the four fields; takes a plain answer as the subject."""

    name = "endpoint"
    looks = True
    batch = 1

    def __init__(self, wanted: Wanted) -> None:
        """Check what is told; nothing is sent yet.

        Raises:
            UserError: no address is named, or the key's variable is not set.
        """
        parts = urlsplit(wanted.endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(
                f"endpoint is {wanted.endpoint or 'empty'}: name the address of the service, such as "
                "http://127.0.0.1:8000/v1; pictures are sent there and nowhere else."
            )
        if wanted.key_from and wanted.key_from not in os.environ:
            raise UserError(f"key_from is {wanted.key_from}: there is no environment variable of this name.")
        self._address = wanted.endpoint.rstrip("/") + "/chat/completions"
        self._model = wanted.model or "default"
        self._headers = {"Content-Type": "application/json"}
        if wanted.key_from:
            self._headers["Authorization"] = f"Bearer {os.environ[wanted.key_from]}"

    def caption(self, pictures: Sequence[Seen]) -> list[Fields]:
        """What the service says of each picture.

        Raises:
            UserError: it cannot be reached, or its answer is none.
        """
        return [parse(self._ask(seen)) for seen in pictures]

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self, seen: Seen) -> str:
        packed = io.BytesIO()
        seen.pixels.save(packed, format="JPEG", quality=90)
        picture = f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
        content = [{"type": "text", "text": _ASK}, {"type": "image_url", "image_url": {"url": picture}}]
        body = {"model": self._model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        request = urllib.request.Request(self._address, json.dumps(body).encode(), self._headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return str(json.loads(answer.read())["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            raise UserError(
                f"{self._address} answers {error.code} ({error.reason}); check address, model, key."
            ) from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{self._address} gives no answer that can be read ({error}); is it running?") from error


def parse(answer: str) -> Fields:
    """The fields of an answer: of its JSON object, or the whole text as subject."""
    first, last = answer.find("{"), answer.rfind("}")
    try:
        told: Any = json.loads(answer[first : last + 1])
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return Fields(subject=" ".join(answer.split()).rstrip("."))
    attributes = told.get("attributes") or []
    listed = attributes if isinstance(attributes, list) else str(attributes).split(",")
    return Fields(
        subject=str(told.get("subject") or ""),
        attributes=tuple(str(one).strip() for one in listed if str(one).strip()),
        scene=str(told.get("scene") or ""),
        style=str(told.get("style") or ""),
    )
