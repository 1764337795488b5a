"""``python -m lora_scripts_ext worker``: runs queued jobs until it is stopped, or until none is left."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence

from .. import terminal
from ..api import webhooks
from ..errors import UserError
from ..jobs import lanes
from ..jobs.environment import Standalone
from ..jobs.launcher import ProcessLauncher
from ..jobs.schedule import Schedule
from ..jobs.watching import watching
from ..jobs.worker import Worker
from ..library.database import Database
from ..library.queue import Queue
from . import data_dir


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker; returns the exit code: 0 all done, 1 a job failed meanwhile, 2 bad input, 130 stopped."""
    options = parser().parse_args(arguments)
    try:
        database = data_dir.opened(options.data_dir)
        return _on_ray(database, options) if options.ray else _here(database, options)
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT


def parser() -> argparse.ArgumentParser:
    """The options of ``worker``."""
    options = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext worker",
        description="Run the queued jobs, one at a time on each device. Ctrl-C gives them back to the queue, saved.",
    )
    data_dir.add_option(options)
    options.add_argument(
        "--until-empty", action="store_true", help="end when no job is left that can run; else wait for new ones"
    )
    ray = options.add_argument_group("on a Ray cluster")
    ray.add_argument("--ray", metavar="ADDRESS", help="auto, HOST:PORT or ray://HOST:PORT; needs pip install '.[ray]'")
    ray.add_argument("--gpus-per-job", type=float, metavar="N", help="default: 1, or 0 on a cluster without GPUs")
    ray.add_argument(
        "--cpus-per-job", type=float, metavar="N", help="default: 1, without GPUs all cores of the smallest node"
    )
    ray.add_argument(
        "--jobs-at-once", type=int, metavar="N", help="default: what fits; more lets an autoscaler add nodes"
    )
    ray.add_argument(
        "--files",
        choices=("auto", "shared", "copied"),
        default="auto",
        help="shared: all paths are the same on all nodes; copied: files are sent to nodes and back; default: as found",
    )
    ray.add_argument(
        "--node-cache", type=float, default=100, metavar="GB", help="what a node keeps between jobs (default: 100)"
    )
    return options


class _Changes:
    """Prints what becomes of jobs, a line each."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        newest = queue.newest_change()
        self._seq = newest
        self.failed = False

    def print(self) -> None:
        """Print what has changed since the last call."""
        for change in self._queue.changes(after=self._seq):
            self._seq = change.seq
            self.failed = self.failed or change.state == "failed"
            terminal.print_message(f"{change.job}  {change.state:9}  {change.reason}".rstrip())


def _here(database: Database, options: argparse.Namespace) -> int:
    """Run jobs on this machine."""
    queue = Queue(database)
    changes = _Changes(queue)
    worker = Worker(
        queue,
        ProcessLauncher(options.data_dir),
        lanes.of_this_machine(),
        runner="worker",
        not_yet=Schedule(database).waits_for,
        on_tick=changes.print,
        on_error=terminal.print_message,
    )
    return _run(database, worker, changes, options)


def _on_ray(database: Database, options: argparse.Namespace) -> int:
    """Run jobs on a cluster, as many at once as it has room for at the time."""
    from ..cluster import connection
    from ..cluster.launcher import RayLauncher, may_start

    queue = Queue(database)
    cluster = connection.connect(options.ray)
    try:
        changes, share = _Changes(queue), cluster.share(options.gpus_per_job, options.cpus_per_job)
        launcher = RayLauncher(
            queue, options.data_dir, cluster, share, files=options.files, node_bytes=options.node_cache * 1e9
        )
        room = [-1]

        def tick() -> None:
            changes.print()
            now = options.jobs_at_once or share.room(cluster.nodes())
            if now != room[0]:
                room[0] = now
                needs = f"each takes {share.gpus:g} GPU and {share.cpus:g} CPU of a node"
                terminal.print_message(f"The cluster has room for {now} jobs at once; {needs}.")
            worker.use(connection.lane_names(now))

        worker = Worker(
            queue,
            launcher,
            [],
            runner="worker",
            may_start=may_start,
            not_yet=Schedule(database).waits_for,
            on_tick=tick,
            on_error=terminal.print_message,
        )
        return _run(database, worker, changes, options)
    finally:
        cluster.close()


def _run(database: Database, worker: Worker, changes: _Changes, options: argparse.Namespace) -> int:
    stops: list[int] = []

    def stop(number: int, _: object) -> None:
        stops.append(number)
        worker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    hooks = webhooks.of_service_file(database, Queue(database))
    hooks.start()
    if options.until_empty:
        worker.run(until_empty=True)
    else:
        worker.recover()
        Schedule(database).after_restart(Queue(database))
        environment = Standalone(options.data_dir.resolve())
        with watching(database, environment, wake=worker.wake, on_error=terminal.print_message):
            worker.run()
    hooks.stop()
    if stops:
        terminal.print_message("Stopping: running jobs save and go back into the queue; press again to end them now.")
        worker.give_back(hurry=lambda: len(stops) > 1)
        return terminal.STOPPED
    if Queue(database).paused():
        terminal.print_message("The queue is paused; `jobs continue` lets it go on.")
    changes.print()
    return terminal.FAILED if changes.failed else terminal.DONE
