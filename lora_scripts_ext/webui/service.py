"""The jobs of this WebUI: one library and one worker, whoever asks and however often the page is loaded."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from starlette.requests import Request

from ..api import service as api
from ..api import webhooks
from ..config import Config
from ..errors import UserError
from ..hosts.webui import notices
from ..jobs import event_log, submit
from ..jobs.kinds.train import has_state
from ..jobs.launcher import ThreadLauncher
from ..jobs.report import Follower
from ..jobs.watching import Watcher
from ..jobs.worker import Worker
from ..library import rebuild
from ..library.database import Database
from ..library.job import OWNED, Job, NewJob
from ..library.queue import Queue
from . import paths, schedule, settings
from .environment import WebUI

# How the page calls the states of a job.
_STATUS = {"queued": "waiting", "starting": "starting", "done": "done", "failed": "failed"}


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
            settings=settings.Options(),
            wake=self.worker.wake,
            server_ends=_server_ends,
        )
        self._followers: dict[str, Follower] = {}
        self._lock = threading.Lock()
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

    def train(self, config: Config) -> Job:
        """Queue a training; it is started as soon as nothing else runs.

        Raises:
            UserError: the config cannot be used.
        """
        submission = NewJob("train", config.changed(), runner=self.environment.runner)
        (job,) = submit.submit(self.queue, self.environment, [submission])
        self.queue.pause(False)
        self.worker.wake()
        return job

    def resume(self, output_dir: str) -> Job:
        """Queue the training again that was stopped or has failed: the one that writes to ``output_dir``, or, where
        that is empty, the last one. It continues with its own settings.

        Raises:
            UserError: there is none.
        """
        ended = self.queue.page(states=("stopped", "failed"), kind="train", limit=200).jobs
        for job in ended:
            if output_dir in ("", job.output_dir):
                again = submit.retry(self.queue, self.environment, job.id)
                self.queue.pause(False)
                self.worker.wake()
                return again
        raise UserError("There is no stopped training to resume; press Start to begin a new one.")

    def resume_folder(self, config: Config) -> Job:
        """Queue a training that continues from the state in ``output_dir`` of ``config``, left by a run without a job.

        Raises:
            UserError: there is no state.
        """
        if not has_state(paths.run_dir(config.name)):
            raise UserError("There is no stopped training to resume; press Start to begin a new one.")
        submission = NewJob("train", config.changed(), runner=self.environment.runner, begun=True)
        (job,) = submit.submit(self.queue, self.environment, [submission])
        self.worker.wake()
        return job

    def stop(self) -> None:
        """Ask the running training to save and stop; without one nothing happens."""
        job = self._newest()
        if job is not None and job.state in OWNED:
            self.queue.stop(job.id)
            self.worker.wake()

    def report(self) -> dict[str, Any]:
        """How the training that runs is going, else the next one, else the last one; ``status`` is ``idle`` where there
        was none.

        ``made``: LoRAs that are done, by name -> when they were finished, in seconds. The page shows their cards; the
        WebUI shows them after its own refresh, which lists the checkpoints, too. ``notice``: the newest of ``notices``,
        None where there is none.
        """
        job = self._newest()
        if job is None:
            return {"status": "idle"}
        figures = self._follower(job).update().to_dict()
        report = {
            **figures, "status": self._status(job), "name": job.config.get("output_name") or job.name,
            "trigger": job.config.get("trigger_word", ""), "stopping": job.state == "stopping", "job": job.id,
            "started": job.created, "waits_for": self.queue.waits_for(job) or job.reason * (job.state == "queued"),
            "waiting": self._waiting(job), "made": self._made(), "notice": _notice(),
        }  # fmt: skip
        if job.ended:
            report |= {"ended": job.changed, "eta": None, **{key: job.result[key] for key in ("lora",) if job.result}}
        if job.state == "failed":
            report["error"] = job.reason
        return report

    def _newest(self) -> Job | None:
        jobs = self.queue.page(kind="train", limit=1).jobs
        return jobs[0] if jobs else None

    def _status(self, job: Job) -> str:
        if job.state in ("running", "stopping"):
            return {"preparing": "preparing", "training": "training"}.get(job.progress.get("phase", ""), "starting")
        return _STATUS.get(job.state, "stopped")

    def _waiting(self, shown: Job) -> list[dict[str, str]]:
        """The other trainings in the queue, in their order."""
        queued = self.queue.page(states=("queued",), kind="train", limit=20).jobs
        return [
            {"id": job.id, "name": job.name, "waits_for": self.queue.waits_for(job)}
            for job in queued
            if job.id != shown.id
        ]

    def _made(self) -> dict[str, float]:
        done = self.queue.page(states=("done",), kind="train", limit=20).jobs
        return {job.config.get("output_name") or job.name: job.changed for job in reversed(done)}

    def _follower(self, job: Job) -> Follower:
        with self._lock:
            if job.id not in self._followers:
                path = event_log.folder(self.environment.data_dir, job.id) / event_log.NAME
                # One is looked at at a time.
                self._followers = {job.id: Follower(path)}
            return self._followers[job.id]

    def _may_start(self, job: Job) -> str:
        return self._schedule.waits_for() or self.environment.waits_for(job)


def _notice() -> dict[str, Any] | None:
    notice = notices.newest()
    return asdict(notice) if notice is not None else None


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
