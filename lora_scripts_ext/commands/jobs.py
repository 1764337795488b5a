"""``python -m lora_scripts_ext jobs``: the queue from a shell, whether a server or worker runs or not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from .. import terminal
from ..errors import UserError
from ..jobs import submit
from ..jobs.environment import Standalone
from ..jobs.view import job_view
from ..library.job import Job, NewJob
from ..library.queue import Queue
from . import data_dir, times

_PAGE = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jobs``; returns the exit code: 0 done, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        queue = Queue(data_dir.opened(options.data_dir))
        return int(options.command(queue, options))
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lora_scripts_ext jobs", description="Queue jobs and follow them.")
    command = partial(data_dir.subcommand, parser.add_subparsers(metavar="COMMAND", required=True))

    add = command("add", _add, "queue a training for each YAML or TOML file")
    add.add_argument("files", nargs="+", type=terminal.path, metavar="FILE")
    add.add_argument("--after", metavar="ID", help="start only when this job is done")
    add.add_argument("--priority", type=int, default=0, metavar="N", help="higher ones first (default: 0)")
    add.add_argument("--not-before", type=times.seconds, metavar="TIME", help="such as 2026-11-27T22:00, or 22:00")
    add.add_argument("--window", default="", metavar="HH:MM-HH:MM", help="start only at this time of day")

    listing = command("list", _list, "list the jobs: what runs, the queue in its order, what has ended")
    listing.add_argument("--json", action="store_true", help="one JSON array on stdout")
    listing.add_argument("--state", action="append", default=[], metavar="STATE", help="only these; may be repeated")

    show = command("show", _show, "show a job with its attempts and changes, as JSON")
    show.add_argument("id", metavar="ID")
    for name, function, help in (
        ("stop", _stop, "let a job save and stop"),
        ("cancel", _cancel, "end a job for good"),
        ("remove", _remove, "forget a job that has ended; its files stay"),
    ):
        command(name, function, help).add_argument("ids", nargs="+", metavar="ID")
    again = command("retry", _retry, "queue a job again that failed or was stopped; a training continues")
    again.add_argument("ids", nargs="+", metavar="ID")

    move = command("move", _move, "change the place of a job in the queue")
    move.add_argument("id", metavar="ID")
    move.add_argument("--before", metavar="ID", help="the job that it comes before; without it, it becomes the last")
    change = command("change", _change, "change the priority or schedule of a job in the queue")
    change.add_argument("id", metavar="ID")
    change.add_argument("--priority", type=int, metavar="N")
    change.add_argument("--after", metavar="ID")
    change.add_argument("--not-before", type=times.seconds, metavar="TIME")
    change.add_argument("--window", metavar="HH:MM-HH:MM")
    command("pause", _pause, "start no job any more; what runs goes on")
    command("continue", _continue, "start jobs again")
    return parser


def _add(queue: Queue, options: argparse.Namespace) -> int:
    template = NewJob(
        "train", {}, after=options.after, priority=options.priority, not_before=options.not_before,
        window=options.window,
    )  # fmt: skip
    if options.after is not None:
        queue.get(options.after)
    bad = False
    environment = Standalone(options.data_dir.resolve())
    for file, (job, error) in zip(
        options.files, submit.submit_files(queue, environment, options.files, template), strict=True
    ):
        terminal.print_json({"id": job.id, "name": job.name, "state": job.state, "reason": job.reason})
        if error is not None:
            bad = True
            terminal.print_message(f"error: {error} It is listed as failed; correct {file}, then jobs retry {job.id}.")
    return terminal.BAD_INPUT if bad else terminal.DONE


def _list(queue: Queue, options: argparse.Namespace) -> int:
    jobs = _all(queue, options.state)
    if options.json:
        terminal.print_json([job_view(queue, job) for job in jobs])
        return terminal.DONE
    for job in jobs:
        view = job_view(queue, job)
        more = view["waits_for"] or view["status"] or job.reason
        terminal.print_line(f"{job.id}  {job.state:9}  {job.kind:8}  {job.name}  {more}".rstrip())
    if not jobs:
        terminal.print_line("No jobs.")
    return terminal.DONE


def _all(queue: Queue, states: Sequence[str]) -> list[Job]:
    jobs: list[Job] = []
    cursor: str | None = ""
    while cursor is not None:
        page = queue.page(states=states, limit=_PAGE, cursor=cursor)
        jobs += page.jobs
        cursor = page.next
    return jobs


def _show(queue: Queue, options: argparse.Namespace) -> int:
    job = queue.get(options.id)
    terminal.print_json(job_view(queue, job, whole=True))
    return terminal.DONE


def _stop(queue: Queue, options: argparse.Namespace) -> int:
    return _each(queue, options.ids, queue.stop)


def _cancel(queue: Queue, options: argparse.Namespace) -> int:
    return _each(queue, options.ids, queue.cancel)


def _retry(queue: Queue, options: argparse.Namespace) -> int:
    environment = Standalone(options.data_dir.resolve())
    return _each(queue, options.ids, lambda job: submit.retry(queue, environment, job))


def _remove(queue: Queue, options: argparse.Namespace) -> int:
    for job in options.ids:
        queue.remove(job)
    return terminal.DONE


def _each(queue: Queue, ids: Sequence[str], change: Any) -> int:
    """Do the same with several jobs; one for which that is not possible does not keep the others from it."""
    code = terminal.DONE
    for one in ids:
        try:
            job = change(one)
            terminal.print_json({"id": job.id, "name": job.name, "state": job.state})
        except UserError as error:
            terminal.print_error(error)
            code = terminal.BAD_INPUT
    return code


def _move(queue: Queue, options: argparse.Namespace) -> int:
    job = queue.move(options.id, options.before)
    terminal.print_json({"id": job.id, "name": job.name, "state": job.state})
    return terminal.DONE


def _change(queue: Queue, options: argparse.Namespace) -> int:
    names = ("priority", "after", "not_before", "window")
    fields = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    job = queue.update(options.id, **fields)
    terminal.print_json({"id": job.id, "name": job.name, "state": job.state})
    return terminal.DONE


def _pause(queue: Queue, options: argparse.Namespace) -> int:
    queue.pause(True)
    return terminal.DONE


def _continue(queue: Queue, options: argparse.Namespace) -> int:
    queue.pause(False)
    return terminal.DONE
