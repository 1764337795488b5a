"""JSON that can be written as UTF-8, whatever is in it."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON with readable characters; in ASCII where it holds what UTF-8 cannot (lone surrogates)."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
