"""A time of day at which something is done once: ``02:00``, in the machine's own time."""

from __future__ import annotations

import re
import time

from ..errors import UserError

_FORM = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
# YAML 1.1 reads an unquoted 12:30 as a number in base 60; 0:30 and 08:00 stay texts.
_BASE_60 = range(60, 24 * 60)


def minutes(text: str, where: str = "hour") -> int:
    """Minutes since midnight; ``where`` names the key in errors.

    Raises:
        UserError: it is no time of day.
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 5 and int(text) in _BASE_60:
        return int(text)
    match = _FORM.fullmatch(text)
    if match is None:
        raise UserError(f'{where} is {text[:40]!r}, which is no time of day; write it like "02:00".')
    return 60 * int(match[1]) + int(match[2])


def tidy(text: str, where: str = "hour") -> str:
    """The time of day as ``HH:MM``.

    Raises:
        UserError: it is none.
    """
    hour, minute = divmod(minutes(text, where), 60)
    return f"{hour:02d}:{minute:02d}"


def newest(text: str, now: float) -> str:
    """The day (``YYYY-MM-DD``) on which the hour ``text`` came last, as seen at ``now`` (seconds since the epoch).

    Days are compared as texts: what was done for a day is not due again until a later day's hour has come, whether
    the machine was off at the hour itself or its clock is set back.
    """
    local = time.localtime(now)
    if 60 * local.tm_hour + local.tm_min >= minutes(text):
        return time.strftime("%Y-%m-%d", local)
    # Noon: a day of 23 or 25 hours does not lead past the day before.
    noon = (local.tm_year, local.tm_mon, local.tm_mday - 1, 12, 0, 0, 0, 0, -1)
    return time.strftime("%Y-%m-%d", time.localtime(time.mktime(noon)))
