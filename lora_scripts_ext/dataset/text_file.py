"""Text as people's tools save it."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """A text file in UTF-8 (with or without BOM) or, failing that, GB18030, as Chinese Windows writes.

    Raises:
        ValueError: it is neither.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030")
