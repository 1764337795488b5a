"""An image file that is not used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """A file that is not trained on: its ``name`` and the ``reason``, which together read as a sentence."""

    name: str
    reason: str
