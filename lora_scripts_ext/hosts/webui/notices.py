"""What the page tells its user at once: a choice waits or is refused, because a LoRA is being trained.

gradio's own messages reach nobody where a WebUI handles an event outside of the queue. Importable without a WebUI.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """A sentence, and when it was said, in seconds since the epoch; no two are of the same time."""

    text: str
    time: float


_newest: Notice | None = None


def show(text: str) -> None:
    """Every page that is open shows ``text``."""
    global _newest
    previous = _newest.time if _newest is not None else 0.0
    _newest = Notice(text, max(time.time(), previous + 1e-3))


def newest() -> Notice | None:
    """The last notice; None where there was none."""
    return _newest
