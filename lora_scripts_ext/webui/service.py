"""The jobs of this WebUI: one library and one worker, whoever asks and however often the page is loaded."""

from __future__ import annotations

import threading

from starlette.requests import Request

from ..api import service as api
from ..api import webhooks
from ..errors import UserError
from ..jobs.launcher import ThreadLauncher
from ..jobs.settings import LibrarySettings
from ..jobs.watching import Watcher
from ..jobs.worker import Worker
from ..library import rebuild
from ..library.database import Database
from ..library.job import Job
from ..library.models import TRAINING
from ..library.queue import Queue
from . import paths, schedule, settings
from .environment import WebUI


class Service:
    """Holds the library open and runs its jobs in a thread. Methods may be called from any thread."""

    def __init__(self) -> None:
        """Open the library of this WebUI.

        Raises:
            UserError: it cannot be opened.
        """
        self.environment = WebUI()
        self.database = Database(self.environment.data_dir, rebuild.from_folders)
        self.queue = Queue(self.database)
        self._schedule = schedule.Schedule()
        self.worker = Worker(
            self.queue,
            ThreadLauncher(self.queue, self.environment, paths.listen),
            paths.lanes(),
            runner=self.environment.runner,
            may_start=self._may_start,
            on_tick=self._schedule.look,
            on_error=paths.print_line,
        )
        self._watcher = Watcher(self.database, self.environment, wake=self.worker.wake, on_error=paths.print_line)
        self.api = api.Service(
            self.database,
            self.environment,
            queue=self.queue,
            settings=settings.Options(LibrarySettings(self.database)),
            wake=self.worker.wake,
            server_ends=_server_ends,
        )
        self._thread = threading.Thread(target=self.worker.run, name="lora-trainer-worker", daemon=True)

    def start_worker(self) -> None:
        """Begin to run jobs; those that an earlier process of the WebUI left behind continue, unless that is switched
        off."""
        self.worker.recover()
        if self._schedule.waits_after_restart() and self.queue.counts().get("queued"):
            self.queue.pause(True)
        self._thread.start()
        self._watcher.start()
        try:
            webhooks.of_service_file(self.database, self.queue).start()
        except UserError as error:
            # Training goes on without them.
            paths.print_line(str(error))

    def _may_start(self, job: Job) -> str:
        # A job with times of day of its own keeps to those; captioning and checks are waited for by someone.
        scheduled = job.kind in TRAINING and not job.window
        return (self._schedule.waits_for() if scheduled else "") or self.environment.waits_for(job)


def _server_ends(request: Request) -> bool:
    """Whether gradio closes the server, as at Reload UI, which waits until every connection has ended."""
    server = getattr(getattr(request.app, "blocks", None), "server", None)
    return bool(getattr(server, "should_exit", False))


_lock = threading.Lock()
_service: Service | None = None


def service() -> Service:
    """The service of this WebUI, opened when it is first needed.

    Reload UI runs the scripts again but keeps this module, and with it the jobs.

    Raises:
        UserError: its library cannot be opened.
    """
    global _service
    with _lock:
        if _service is None:
            opened = Service()
            opened.start_worker()
            _service = opened
        return _service
