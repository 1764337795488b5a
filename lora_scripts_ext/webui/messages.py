"""Sentences on the page."""

from __future__ import annotations

import html
from typing import Literal


def sentence(text: str, mood: Literal["good", "bad"]) -> str:
    """``text`` as a paragraph; ``bad`` where something went wrong."""
    return f"<p class='lt_{mood}'>{html.escape(text)}</p>"
