"""What the routes work on: one library, one queue, one environment; made once in a process."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request

from ..jobs.environment import Environment
from ..jobs.settings import LibrarySettings, Settings
from ..library.database import Database
from ..library.queue import Queue
from .feed import Feed
from .idempotency import Requests
from .limits import Limits, RateLimit
from .remembered import Remembered
from .reports import Reports
from .threads import Threads


class Service:
    """Everything that routes need. Attributes may be used from any thread.

    Attributes:
        database: the library's file.
        queue: its jobs.
        environment: where jobs run.
        settings: what users may set.
        wake: lets the worker look into the queue at once.
        server_ends: whether the server of a request waits for its connections to end, so that streams must.
        limits: what is accepted.
        threads: for what blocks.
        file_threads: for what reads many files, so that nothing else waits for it.
        feed: tells event streams that something has changed.
        requests: those with an ``Idempotency-Key``.
        reports: of jobs, with their curves.
        remembered: answers that are given again until the library changes.
    """

    def __init__(
        self,
        database: Database,
        environment: Environment,
        *,
        queue: Queue | None = None,
        settings: Settings | None = None,
        wake: Callable[[], None] = lambda: None,
        server_ends: Callable[[Request], bool] = lambda request: False,
        limits: Limits = Limits(),  # noqa: B008 - it cannot change
    ) -> None:
        """Start nothing yet; ``queue`` and ``settings`` are those of ``database`` unless given."""
        self.database = database
        self.environment = environment
        self.queue = queue or Queue(database)
        self.settings = settings or LibrarySettings(database)
        self.wake = wake
        self.server_ends = server_ends
        self.limits = limits
        self.threads = Threads()
        self.file_threads = Threads(8)
        self.feed = Feed(self.queue, database.folder, limits.streams)
        self.requests = Requests(database)
        self.reports = Reports(database.folder)
        self.remembered = Remembered(database)
        self.reads = RateLimit(limits.reads, limits.read_burst)
        self.writes = RateLimit(limits.writes, limits.write_burst)

    def close(self) -> None:
        """End the event streams; the library stays open."""
        self.feed.close()
        self.threads.close()
        self.file_threads.close()
