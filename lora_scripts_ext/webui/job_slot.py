"""What is trained in this WebUI: one job at a time, whoever asks and however often the page is loaded."""

from __future__ import annotations

import threading
from typing import Any

from ..config import Config
from ..errors import UserError
from ..jobs.job import Job
from . import paths


class Desk:
    """Holds the newest job."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._made: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self, config: Config, resume: bool) -> None:
        """Begin a run.

        Raises:
            UserError: one is going on.
        """
        with self._lock:
            if self._job is not None and self._job.alive:
                raise UserError(f"{self._job.config.name} is still being trained; wait for it, or stop it first.")
            # Notes what the one before has made, if no page has asked since.
            self.report()
            self._job = Job(config, paths.make_host(self.stop), resume=resume, listen=paths.listen)
            self._job.start()

    def stop(self) -> None:
        """Ask the run to save and stop; without one nothing happens."""
        if self._job is not None:
            self._job.stop()

    def report(self) -> dict[str, Any]:
        """How the newest job is going; ``status`` is ``idle`` where there was none.

        ``made``: the LoRAs' names since the WebUI was started -> when they were made, in seconds. The page shows their
        cards; the WebUI shows them after its own refresh, which lists the checkpoints, too.
        """
        if self._job is None:
            return {"status": "idle"}
        told = self._job.report()
        # The status is said a moment before the end is.
        if told["status"] == "done" and "ended" in told:
            self._made[told["name"]] = told["ended"]
        return {**told, "made": dict(self._made)}


#: Reload UI runs the scripts anew but keeps this module, and with it the job.
DESK = Desk()
