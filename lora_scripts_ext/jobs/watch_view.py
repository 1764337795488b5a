"""A watch as programs see it: the same in the API and on the command line."""

from __future__ import annotations

from typing import Any

from .. import json_text
from ..library.database import Database
from ..library.fetches import Fetches
from ..library.watches import Watch
from ..time_text import iso


def watch_view(database: Database, watch: Watch) -> dict[str, Any]:
    """The watch ready for JSON, times in ISO 8601 (UTC).

    ``attended``: the last day whose hour has been attended to; ``job``: what was queued for that; ``fetched``: the last
    run of its fetch command.
    """
    fetched = Fetches(database).get(watch.config["fetch"]) if watch.config["fetch"] else None
    view = {
        **watch.config, "model": watch.model, "folder": watch.folder, "attended": watch.state.get("day"),
        "job": watch.state.get("job"), "created": iso(watch.created), "changed": iso(watch.changed),
        "fetched": None if fetched is None else {
            "outcome": fetched.outcome, "code": fetched.code, "day": fetched.day or None,
            "started": iso(fetched.started), "ended": iso(fetched.ended),
        },
    }  # fmt: skip
    result: dict[str, Any] = json_text.finite(view)
    return result
