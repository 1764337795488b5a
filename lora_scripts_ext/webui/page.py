"""What the WebUI's page shows outside of the studio: notices, new LoRAs, and what its requests for images wait for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..hosts.webui import notices
from ..jobs.kinds import registry
from ..library.job import OWNED
from ..library.queue import Queue
from . import paths

_NEW_LORAS = 20


def status(queue: Queue) -> dict[str, Any]:
    """As the page asks for it, ready for JSON.

    ``notice``: the newest of ``notices``, None where there is none. ``made``: LoRAs that are done, by name -> when they
    were finished, in seconds; the page shows their cards, which the WebUI would show only after its own refresh, and
    that lists the checkpoints, too. ``running``: the job that has the model, with its kind, its name, and what share of
    its steps is done (None: unknown); None where there is none. ``waiting``: the WebUI's own names of the tasks that
    wait for that.
    """
    notice = notices.newest()
    done = queue.page(states=("done",), kind="train", limit=_NEW_LORAS).jobs
    return {
        "notice": asdict(notice) if notice is not None else None,
        "made": {job.config.get("output_name") or job.name: job.changed for job in reversed(done)},
        "running": _running(queue),
        "waiting": paths.waiting_tasks(),
    }


def _running(queue: Queue) -> dict[str, Any] | None:
    for job in queue.page(states=OWNED, limit=_NEW_LORAS).jobs:
        if registry.by_name(job.kind).lane == "device":
            step, steps = job.progress.get("step", 0), job.progress.get("steps")
            return {"kind": job.kind, "name": job.name, "share": step / steps if steps else None}
    return None
