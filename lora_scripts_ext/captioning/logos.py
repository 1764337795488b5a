"""Whether images show a logo, a watermark or text, which a model would learn with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import torch

from ..errors import UserError
from . import models
from .base import CaptionerOptions, CaptionInput
from .chat import Chat, json_object
from .clip_rank import USUAL, likelihoods
from .endpoint import asked

_ASK = (
    "Is a logo, a watermark or readable text visible in this image? Answer with one JSON object and nothing else: "
    '{"visible": "yes"} or {"visible": "no"}.'
)
_ANSWERS = {"yes": True, "no": False}
_WITH, _WITHOUT = "a photo with a logo or watermark or text", "a photo without any text"


class LogoDetector(Protocol):
    """Finds logos, watermarks and text in images.

    Attributes:
        batch: images that it takes together.
    """

    batch: int

    def visible(self, images: Sequence[CaptionInput]) -> list[bool | None]:
        """Whether each image shows one; None where that could not be found out."""

    def close(self) -> None:
        """Let go of models and of the device."""


class EndpointDetector:
    """Asks an OpenAI-compatible service."""

    batch = 1

    def __init__(self, options: CaptionerOptions) -> None:
        """Check the options; nothing is sent yet.

        Raises:
            UserError: the address is none, or the key's variable is not set.
        """
        self._chat = Chat(options.endpoint, options.model, options.key_from)

    def visible(self, images: Sequence[CaptionInput]) -> list[bool | None]:
        """See :class:`LogoDetector`.

        Raises:
            UserError: the service cannot be reached, or its response is unusable.
        """
        return [_answer(asked(self._chat, _ASK, one)) for one in images]

    def close(self) -> None:
        """Nothing is held."""


class ClipDetector:
    """Ranks two phrases by CLIP (arXiv 2103.00020)."""

    batch = 8

    def __init__(self, options: CaptionerOptions) -> None:
        """Load the model.

        Raises:
            UserError: it is not on this machine.
        """
        source = options.model or USUAL
        self._device = models.device(options)
        self._model = models.placed(models.load("CLIPModel", source, options), self._device)
        self._processor = models.load("CLIPProcessor", source, options)

    @torch.no_grad()
    def visible(self, images: Sequence[CaptionInput]) -> list[bool | None]:
        """See :class:`LogoDetector`."""
        pixels = [one.image for one in images]
        ranked = likelihoods(self._model, self._processor, pixels, (_WITH, _WITHOUT))
        return [bool(row[0] > row[1]) for row in ranked]

    def close(self) -> None:
        """Let go of the model."""
        del self._model, self._processor
        models.free(self._device)


def make(options: CaptionerOptions) -> LogoDetector:
    """The service where ``options`` name one, else CLIP.

    Raises:
        UserError: neither is there.
    """
    if options.endpoint:
        return EndpointDetector(options)
    try:
        if find_spec("transformers") is None:
            raise UserError("transformers is not installed")
        return ClipDetector(options)
    except UserError as error:
        if options.model:
            raise
        raise UserError(
            "logos: looking for logos and text needs the endpoint of an OpenAI-compatible service, or transformers and "
            f"the model {USUAL} on this machine (or another CLIP model); name one of them, or do not look for logos."
        ) from error


def _answer(response: str) -> bool | None:
    value = (json_object(response) or {}).get("visible")
    return _ANSWERS.get(value.strip().casefold()) if isinstance(value, str) else None
