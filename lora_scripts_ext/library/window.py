"""Times of day at which a job may start: ``22:00-06:00``, in the machine's own time."""

from __future__ import annotations

import re
import time

from ..errors import UserError

_FORM = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")


def parse(text: str) -> tuple[int, int]:
    """First and last minute of the day, the last one exclusive; a window that crosses midnight ends before it begins.

    Raises:
        UserError: it is no window.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UserError(f"window: {text[:40]!r} is no time of day; write it like 22:00-06:00.")
    hour, minute, last_hour, last_minute = map(int, match.groups())
    first, last = 60 * hour + minute, 60 * last_hour + last_minute
    if first == last:
        raise UserError(f"window: {text[:40]!r} is empty; write it like 22:00-06:00.")
    return first, last


def is_open(text: str, now: float) -> bool:
    """Whether ``now``, in seconds since the epoch, lies in the window ``text``."""
    first, last = parse(text)
    local = time.localtime(now)
    minute = 60 * local.tm_hour + local.tm_min
    return first <= minute < last if first < last else minute >= first or minute < last
