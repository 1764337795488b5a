"""A point in time as text: as a user writes it, and as it is shown."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .errors import UserError


def seconds(text: str, where: str) -> float:
    """Seconds since the epoch of an ISO time, of ``HH:MM`` (the next one), or of such seconds themselves.

    Without a zone it is a time of this machine. ``where`` names the origin in errors.

    Raises:
        UserError: it is none of them.
    """
    now = datetime.now().astimezone()
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text)).timestamp()
        if len(text) <= 5:
            hour, minute = map(int, text.split(":"))
            today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (today if today > now else today + timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(f"{where}: {text[:40]!r} is no time; write it like 2026-11-27T22:00 or 22:00.") from error


def iso(seconds: float | None) -> str | None:
    """A time, in seconds since the epoch, as ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
