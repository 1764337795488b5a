"""A job as programs see it: the same in the API and on the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .. import json_text
from ..library.job import Job
from ..library.queue import Queue
from ..time_text import iso


def job_view(queue: Queue, job: Job, *, whole: bool = False) -> dict[str, Any]:
    """The job ready for JSON, times in ISO 8601 (UTC).

    ``waits_for``: why it does not run yet; ``status``: what it is doing, as a sentence. With ``whole`` also its config,
    its attempts, and every change of its state with time and reason.
    """
    view = {
        "id": job.id, "kind": job.kind, "name": job.name, "state": job.state, "reason": job.reason,
        "waits_for": queue.waits_for(job), "status": status(job), "priority": job.priority, "after": job.after,
        "not_before": iso(job.not_before), "window": job.window, "model": job.model, "source": job.source,
        "output_dir": job.output_dir, "progress": job.progress, "result": job.result, "resumes": job.begun,
        "attempt": job.fence, "created": iso(job.created), "changed": iso(job.changed),
    }  # fmt: skip
    if whole:
        view["config"] = job.config
        view["attempts"] = [
            {**asdict(attempt), "started": iso(attempt.started), "ended": iso(attempt.ended)}
            for attempt in queue.attempts(job.id)
        ]
        view["changes"] = [{**asdict(change), "at": iso(change.at)} for change in queue.changes(job.id)]
    result: dict[str, Any] = json_text.finite(view)
    return result


def status(job: Job) -> str:
    """What a job that runs is doing, as a sentence; empty for others."""
    progress = job.progress
    if job.state == "starting":
        return "It is being started."
    if job.state == "stopping":
        return "It saves and stops after the current step."
    if job.state != "running":
        return ""
    if prepare := progress.get("prepare"):
        what = "images" if prepare["what"] == "pictures" else prepare["what"]
        return f"{prepare['done']} of {prepare['total']} {what}."
    if progress.get("steps"):
        loss = progress.get("loss")
        at = f"Step {progress.get('step', 0)} of {progress['steps']}"
        return f"{at}, loss {loss:.4f}." if isinstance(loss, float) else f"{at}."
    return "The model is being loaded."
