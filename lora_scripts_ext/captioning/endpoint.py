"""Captions from an OpenAI-compatible service that the user names. Nothing is sent anywhere else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from ..captions.fields import Fields
from .base import CaptionerOptions, CaptionInput
from .chat import Chat, json_object, words

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
        self._chat = Chat(options.endpoint, options.model, options.key_from)

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """What the service says of each image.

        Raises:
            UserError: it cannot be reached, or its response is unusable.
        """
        return [parse(asked(self._chat, _ASK, one)) for one in images]

    def close(self) -> None:
        """Nothing is held."""


def asked(chat: Chat, question: str, source: CaptionInput) -> str:
    """The service's answer to a question about an image.

    Raises:
        UserError: it cannot be reached, or its response is unusable.
    """
    packed = io.BytesIO()
    source.image.save(packed, format="JPEG", quality=90)
    data_url = f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"
    return chat.ask([{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": data_url}}])


def parse(response: str) -> Fields:
    """The fields of a response: of its JSON object, or the whole text as subject."""
    parsed = json_object(response)
    if parsed is None:
        return Fields(subject=" ".join(response.split()).rstrip("."))
    attributes = parsed.get("attributes") or []
    listed = attributes if isinstance(attributes, list) else str(attributes).split(",")
    return Fields(
        subject=words(parsed.get("subject")),
        attributes=tuple(filter(None, map(words, listed))),
        scene=words(parsed.get("scene")),
        style=words(parsed.get("style")),
    )
