"""What is trained in this WebUI: one job at a time, whoever asks and however often the page is loaded."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from ..config import Config
from ..errors import UserError
from ..hosts.webui import notices
from ..jobs.job import Job
from . import paths


class JobSlot:
    """Holds the newest job."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._finished: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self, config: Config, resume: bool) -> None:
        """Begin a run.

        Raises:
            UserError: one is going on.
        """
        with self._lock:
            if self._job is not None and self._job.alive:
                raise UserError(f"{self._job.config.name} is still being trained; wait for it, or stop it first.")
            # Records the LoRA of the previous job, if no page has requested the report since.
            self.report()
            self._job = Job(config, paths.make_host(self.stop), resume=resume, listen=paths.listen)
            self._job.start()

    def stop(self) -> None:
        """Ask the run to save and stop; without one nothing happens."""
        if self._job is not None:
            self._job.stop()

    def report(self) -> dict[str, Any]:
        """How the newest job is going; ``status`` is ``idle`` where there was none.

        ``made``: the LoRAs trained since the WebUI was started, by name -> when they were finished, in seconds. The
        page shows their cards; the WebUI shows them after its own refresh, which lists the checkpoints, too.
        ``notice``: the newest of ``notices``, None where there is none.
        """
        if self._job is None:
            return {"status": "idle"}
        report = self._job.report()
        # The status changes just before the end is recorded.
        if report["status"] == "done" and "ended" in report:
            self._finished[report["name"]] = report["ended"]
        notice = notices.newest()
        return {**report, "made": dict(self._finished), "notice": asdict(notice) if notice is not None else None}


#: Reload UI runs the scripts again but keeps this module, and with it the job.
JOB_SLOT = JobSlot()
