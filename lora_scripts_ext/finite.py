"""Numbers that JSON can hold: it has no NaN and no infinity."""

from __future__ import annotations

import math
from typing import Any


def finite(told: Any) -> Any:
    """``told`` (of dicts, lists and plain values) with None in place of every number that is NaN or infinite."""
    if isinstance(told, float):
        return told if math.isfinite(told) else None
    if isinstance(told, dict):
        return {key: finite(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return (list if isinstance(told, list) else tuple)(finite(value) for value in told)
    return told
