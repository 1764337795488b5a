"""The interrogators that a WebUI brings along: CLIP with BLIP, and DeepBooru.

Importable anywhere; the WebUI's modules are only looked for when one of these is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..captions.fields import Fields
from ..errors import UserError
from .base import CaptionerOptions, CaptionInput
from .blip import without_opening


class Interrogator:
    """BLIP's caption as the WebUI's "Interrogate CLIP" makes it, without the list of artists."""

    name = "interrogate"
    looks = True
    batch = 1

    def __init__(self, _wanted: CaptionerOptions) -> None:
        """Find the WebUI's interrogator; it loads its model when the first image comes.

        Raises:
            UserError: this is no WebUI that has one.
        """
        self._theirs = _part("shared", "interrogator")
        self._loaded = False

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """BLIP's sentence for each image."""
        with _queue():
            if not self._loaded:
                self._theirs.load()
                self._loaded = True
            return [Fields(subject=without_opening(self._theirs.generate_caption(one.image))) for one in images]

    def close(self) -> None:
        """The WebUI takes its model off the device."""
        if self._loaded:
            with _queue():
                self._theirs.unload()
                _unload_forge()


class DeepBooru:
    """Tags as attributes."""

    name = "deepbooru"
    looks = True
    batch = 1

    def __init__(self, _wanted: CaptionerOptions) -> None:
        """Find the WebUI's tagger; it loads its model when the first image comes.

        Raises:
            UserError: this is no WebUI that has one.
        """
        self._theirs = _part("deepbooru", "model")
        self._started = False

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """The tags of each image."""
        with _queue():
            if not self._started:
                self._theirs.start()
                self._started = True
            tagged = [self._theirs.tag_multi(one.image) for one in images]
        # The WebUI escapes brackets for its prompts.
        return [Fields(attributes=tuple(tag.strip().replace("\\", "") for tag in tags.split(","))) for tags in tagged]

    def close(self) -> None:
        """The WebUI takes its model off the device."""
        if self._started:
            with _queue():
                self._theirs.stop()
                _unload_forge()


def _part(module: str, name: str) -> Any:
    """``name`` in the WebUI's ``module``; Neo has the module, but no interrogator in it."""
    try:
        return getattr(importlib.import_module(f"modules.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            "This captioner is the WebUI's own and works in AUTOMATIC1111 and Forge only; take another one here."
        ) from error


def _queue() -> AbstractContextManager[Any]:
    """Nobody draws meanwhile."""
    return _part("call_queue", "queue_lock")


def _unload_forge() -> None:
    """Forge's interrogators keep their models on the device."""
    try:
        management = importlib.import_module("backend.memory_management")
    except ImportError:
        return
    management.unload_all_models()
