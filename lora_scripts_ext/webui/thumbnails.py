"""Images on the page."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from .guard import KEY


def image(path: Path) -> str:
    """HTML of a small version of the image file ``path``, which the page asks the server for."""
    # A file's name may hold bytes that are no text.
    source = f"lora-trainer/picture?path={quote(str(path), errors='surrogateescape')}&amp;page={KEY}"
    return f"<img loading='lazy' src='{source}' alt=''>"
