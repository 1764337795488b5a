"""``python -m lora_scripts_ext worker``: runs queued jobs until it is stopped, or until none is left."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence

from .. import terminal
from ..errors import UserError
from ..jobs import lanes
from ..jobs.launcher import ProcessLauncher
from ..jobs.worker import Worker
from ..library.queue import Queue
from . import data_dir


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker; returns the exit code: 0 all done, 1 a job failed meanwhile, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    try:
        queue = Queue(data_dir.opened(options.data_dir))
        return _run(queue, options)
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext worker",
        description="Run the queued jobs, one at a time on each device. Ctrl-C gives them back to the queue, saved.",
    )
    data_dir.add_option(parser)
    parser.add_argument(
        "--until-empty", action="store_true", help="end when no job is left that can run; else wait for new ones"
    )
    return parser


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


def _run(queue: Queue, options: argparse.Namespace) -> int:
    changes, stops = _Changes(queue), list[int]()
    worker = Worker(
        queue,
        ProcessLauncher(options.data_dir),
        lanes.of_this_machine(),
        runner="worker",
        on_tick=changes.print,
        on_error=terminal.print_message,
    )

    def stop(number: int, _: object) -> None:
        stops.append(number)
        worker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    worker.run(until_empty=options.until_empty)
    if stops:
        terminal.print_message("Stopping: running jobs save and go back into the queue; press again to end them now.")
        worker.give_back(hurry=lambda: len(stops) > 1)
        return terminal.STOPPED
    if queue.paused():
        terminal.print_message("The queue is paused; `jobs continue` lets it go on.")
    changes.print()
    return terminal.FAILED if changes.failed else terminal.DONE
