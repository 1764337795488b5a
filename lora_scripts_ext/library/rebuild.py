"""A library made again from the folders of its jobs, after its file was damaged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .. import files, json_text
from . import models, watches
from .database import Database
from .job import Job

#: a job as it was when it was last queued, in the job's own folder
RECORD = "job.json"
_KEPT = (
    "id", "kind", "name", "priority", "position", "source", "output_dir", "runner", "not_before", "window", "created",
)  # fmt: skip
_AGAIN = "Queued again: the library was damaged and has been made again from the jobs' folders."


def record(data_dir: Path, job: Job) -> None:
    """Write down what a library that is made again needs of a job: what was asked for, and how it has ended."""
    values: dict[str, Any] = {**{key: getattr(job, key) for key in _KEPT}, "config": job.config, "model": job.model}
    if job.ended:
        values["end"] = {"state": job.state, "reason": job.reason, "result": job.result}
    files.write_text(data_dir / "jobs" / job.id / RECORD, json_text.dumps(values, indent=1))


def from_folders(database: Database) -> None:
    """Fill an empty library with the models, watches and jobs whose folders are there.

    Jobs that had not ended are queued again.
    """
    models.from_folders(database)
    watches.from_folders(database)
    records = [(path.parent, _read(path)) for path in sorted((database.folder / "jobs").glob(f"*/{RECORD}"))]
    now = time.time()
    with database.writing() as connection:
        for folder, values in records:
            if values is None:
                continue
            end = values.get("end") or {"state": "queued", "reason": _AGAIN, "result": {}}
            attempt, begun = _attempts(folder / "events.jsonl")
            row = {key: values[key] for key in _KEPT}
            row |= {
                "config": json_text.dumps(values["config"]), "state": end["state"], "reason": end["reason"],
                "result": json_text.dumps(end["result"]), "fence": attempt, "begun": begun, "changed": now,
            }  # fmt: skip
            known = connection.execute("SELECT id FROM models WHERE id = ?", [values.get("model")]).fetchone()
            row["model"] = known["id"] if known is not None else None
            names = ", ".join(row)
            connection.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
            connection.execute(
                "INSERT INTO changes (job, at, state, reason) VALUES (?, ?, ?, ?)",
                [row["id"], now, row["state"], row["reason"]],
            )
    models.record_missing_versions(database)


def _attempts(events: Path) -> tuple[int, bool]:
    """The number of the last attempt at a job, and whether one of them had begun to train."""
    attempt, begun = 0, False
    try:
        lines = events.read_bytes().splitlines()
    except OSError:
        return attempt, begun
    for line in lines:
        if b'"attempt"' not in line:
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        attempt = max(attempt, int(event["attempt"]))
        begun = begun or event.get("event") == "start"
    return attempt, begun


def _read(path: Path) -> dict[str, Any] | None:
    """A record; None where it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        complete = isinstance(values, dict) and all(key in values for key in (*_KEPT, "config"))
    except (OSError, ValueError):
        return None
    return values if complete else None
