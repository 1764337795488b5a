"""Looks after the watches of a library: runs the operator's fetch commands, and queues updates at their hours, and the
contact sheets of what has been trained."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from ..errors import Conflict, UserError
from ..library.database import Database
from ..library.fetches import Begun, Fetches
from ..library.job import Job, NewJob
from ..library.models import Models
from ..library.queue import Queue
from ..library.watches import Watch, Watches
from ..owner import Owner
from ..preparation import intake
from ..preparation.intake import Settling
from . import fetching, reviewing, service_file, update_record
from .environment import Environment
from .service_file import Fetch, ServiceFile
from .submit import planned

_TICK_SECONDS = 5.0
# How long files may go on changing before the night is given up.
_PATIENCE = 10
_SHORTEST_PATIENCE = 600.0
_TRIES = 5
_now = time.time
_clock = time.monotonic


class Watcher:
    """A thread beside the worker. Several processes may each have one: what is due is done once."""

    def __init__(
        self,
        database: Database,
        environment: Environment,
        *,
        wake: Callable[[], None] = lambda: None,
        on_error: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Create one that does nothing yet.

        Args:
            database: of the library.
            environment: where the updates will run.
            wake: called when an update has been queued.
            on_error: called with a sentence where something cannot be done, once as long as it stays the same.
        """
        self._environment = environment
        self._queue = Queue(database)
        self._models = Models(database)
        self._watches = Watches(database)
        self._fetches = Fetches(database)
        self._wake = wake
        self._on_error = on_error
        self._reported: dict[str, str] = {}
        self._settling: dict[str, tuple[Settling, float]] = {}
        self._fetching: dict[str, threading.Thread] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lora-trainer-watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; fetch commands that run are ended, and run again by whoever watches next."""
        self._stop.set()
        for thread in (self._thread, *self._fetching.values()):
            if thread.is_alive():
                thread.join()

    def tick(self) -> None:
        """One look at all watches."""
        self._attempt("contact sheets", partial(reviewing.queue_due, self._queue, self._environment, self._models))
        watches = self._watches.all()
        if not watches:
            return
        service = self._service()
        for watch in watches:
            self._attempt(watch.model, partial(self._look, watch, service))

    def _run(self) -> None:
        while not self._stop.is_set():
            self._attempt("", self.tick)
            self._stop.wait(_TICK_SECONDS)

    def _attempt(self, about: str, work: Callable[[], None]) -> None:
        """Do a piece of work; what is wrong with it is said, and it is tried again at the next look."""
        try:
            work()
            self._reported.pop(about, None)
        except (UserError, OSError, sqlite3.OperationalError) as error:
            self._report_once(about, str(error))

    def _report_once(self, about: str, text: str) -> None:
        if self._reported.get(about) != text:
            self._reported[about] = text
            self._on_error(text)

    def _service(self) -> ServiceFile:
        try:
            return service_file.load(self._environment.data_dir)
        except UserError as error:
            # Images that come by other ways are trained on all the same.
            self._report_once(service_file.NAME, str(error))
            return ServiceFile()

    def _look(self, watch: Watch, service: ServiceFile) -> None:
        name = watch.config["fetch"]
        if name in service.fetch:
            self._fetch_if_due(name, service.fetch[name])
        elif name:
            self._report_once(f"fetch {name}", f"{service_file.NAME} has no fetch command {name}; a watch needs it.")
        if not watch.is_due(_now()):
            self._settling.pop(watch.id, None)
        elif not self._is_fetching(name):
            self._attend(watch)

    def _is_fetching(self, name: str) -> bool:
        """Whether the images of this night are still being brought."""
        last = self._fetches.get(name) if name else None
        return last is not None and last.is_running

    def _attend(self, watch: Watch) -> None:
        """Queue an update as soon as enough new images have settled; nothing where there are none."""
        model = self._models.get(watch.model)
        source = self._environment.readable(watch.folder)
        found = update_record.pending(self._models.home(model.id), self._models.images(model), source)
        settling, since = self._settling.setdefault(watch.id, (Settling(watch.config["settle_seconds"]), _clock()))
        settled = settling.settled(found)
        least = watch.config["new_images"]
        patience = max(_SHORTEST_PATIENCE, _PATIENCE * watch.config["settle_seconds"])
        if _enough(settled, least):
            self._queue_update(watch, self._planned(watch))
        elif not _enough(found, least) or _clock() - since > patience:
            self._queue_update(watch, None)

    def _planned(self, watch: Watch) -> NewJob | None:
        try:
            return update(self._environment, watch.model)
        except Conflict:
            # The night before has not ended yet, or somebody was faster.
            return None
        except UserError as error:
            # Listed as failed, where a person looks in the morning.
            name = f"Update {self._models.get(watch.model).name}"
            return NewJob("update", {"model": watch.model}, name, model=watch.model, problem=str(error))

    def _queue_update(self, watch: Watch, job: NewJob | None) -> None:
        self._settling.pop(watch.id, None)
        if self._watches.attend(watch, self._queue, job) is not None:
            self._wake()

    def _fetch_if_due(self, name: str, fetch: Fetch) -> None:
        begun = self._fetches.begin(name, fetch.hour, Owner.current(), 60 * fetch.timeout_minutes)
        if begun is not None:
            thread = threading.Thread(target=self._fetch, args=(name, fetch, begun), name=f"fetch {name}", daemon=True)
            self._fetching[name] = thread
            thread.start()

    def _fetch(self, name: str, fetch: Fetch, begun: Begun) -> None:
        """Run a fetch command, in a thread of its own."""
        if begun.died is not None:
            fetching.end_left_behind(begun.died)
        folder = fetching.folder_of(self._environment.data_dir, name)
        try:
            outcome, code = fetching.run(
                fetch, folder, begun.day, on_start=lambda child: self._fetches.started(name, child),
                should_stop=self._stop.is_set,
            )  # fmt: skip
        except (OSError, sqlite3.OperationalError) as error:
            outcome, code = f"It could not be run ({error}).", None
        if code != 0:
            self._on_error(f"fetch {name}: {outcome}")
        self._record(name, outcome, code)

    def _record(self, name: str, outcome: str, code: int | None) -> None:
        for _ in range(_TRIES):
            try:
                self._fetches.ended(name, outcome, code, again=self._stop.is_set() and code != 0)
                return
            except sqlite3.OperationalError as error:
                self._on_error(f"fetch {name}: {error}")
                time.sleep(_TICK_SECONDS)


@contextmanager
def watching(
    database: Database, environment: Environment, *, wake: Callable[[], None], on_error: Callable[[str], None]
) -> Iterator[None]:
    """Watch as long as this context lasts; see :class:`Watcher`."""
    watcher = Watcher(database, environment, wake=wake, on_error=on_error)
    watcher.start()
    try:
        yield
    finally:
        watcher.stop()


def update(environment: Environment, model: str) -> NewJob:
    """What is queued for a model at its hour.

    Raises:
        NotFound: there is no such model, or it has no watch.
        Conflict: an update of it waits or runs already.
        UserError: it cannot be trained.
    """
    submission = NewJob("update", {"model": model}, model=model, runner=environment.runner)
    return planned(submission, environment, set())


def run_now(queue: Queue, environment: Environment, model: str) -> Job:
    """Queue an update at once, however few new images there are.

    Raises:
        UserError: see :func:`update`.
    """
    return queue.add([update(environment, model)])[0]


def _enough(found: dict[str, str], least: int) -> bool:
    """Whether there are so many images; what is in a zip is counted when it is unpacked."""
    return len(found) >= least or any(intake.is_zip(path) for path in found)
