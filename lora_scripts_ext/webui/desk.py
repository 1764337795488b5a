"""What is trained in this WebUI: one job at a time, whoever asks and however often the page is loaded."""

from __future__ import annotations

import threading
from typing import Any

from ..config import Config
from ..errors import UserError
from ..jobs.job import Job
from . import place


class Desk:
    """Holds the newest job."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._lock = threading.Lock()

    def start(self, config: Config, resume: bool) -> None:
        """Begin a run.

        Raises:
            UserError: one is going on.
        """
        with self._lock:
            if self._job is not None and self._job.alive:
                raise UserError(f"{self._job.config.name} is still being trained; wait for it, or stop it first.")
            self._job = Job(config, place.make_host(self.stop), resume=resume, listen=place.listen)
            self._job.start()

    def stop(self) -> None:
        """Ask the run to save and stop; without one nothing happens."""
        if self._job is not None:
            self._job.stop()

    def report(self) -> dict[str, Any]:
        """How the newest job is going; ``status`` is ``idle`` where there was none."""
        return self._job.report() if self._job is not None else {"status": "idle"}


#: Reload UI runs the scripts anew but keeps this module, and with it the job.
DESK = Desk()
