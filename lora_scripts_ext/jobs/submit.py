"""Jobs made of what users hand in: configs from files, from a page, from another program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import config as configs
from ..errors import UserError
from ..library.job import Job, NewJob
from ..library.queue import Queue
from .environment import Environment
from .kinds import registry


def submit(queue: Queue, environment: Environment, jobs: Sequence[NewJob]) -> list[Job]:
    """Queue jobs, all or none.

    Raises:
        UserError: one of them cannot be used.
    """
    taken = queue.output_folders()
    return queue.add([planned(one, environment, taken) for one in jobs])


def submit_files(
    queue: Queue, environment: Environment, files: Sequence[Path], template: NewJob
) -> list[tuple[Job, UserError | None]]:
    """Queue a training for each YAML or TOML file; one that cannot be used is recorded as failed, with the error.

    ``template`` has what all of them share: priority and schedule.
    """
    taken = queue.output_folders()
    results: list[tuple[Job, UserError | None]] = []
    for file in files:
        source = str(file.absolute())
        try:
            config = configs.load(file)
            one = replace(template, config=config.changed(), source=source, note=" ".join(config.notes))
            job = planned(one, environment, taken)
            results.append((queue.add([job])[0], None))
        except UserError as error:
            broken = NewJob(template.kind, {}, file.stem, source=source, problem=str(error), runner=template.runner)
            results.append((queue.add([broken])[0], error))
    return results


def retry(queue: Queue, environment: Environment, job: str, config: dict[str, Any] | None = None) -> Job:
    """Queue a job again that ended, with ``config`` instead of its own if given.

    A job that failed before it could begin is read again from the file it came from, which may be corrected by now.

    Raises:
        UserError: it cannot be tried again, or the config cannot be used.
    """
    found = queue.get(job)
    if config is None and found.source and not found.fence and Path(found.source).is_file():
        config = configs.load(Path(found.source)).changed()
    if config is None:
        return queue.retry(job)
    plan = registry.by_name(found.kind).plan(config, environment, found.source or found.name)
    return queue.retry(job, plan.config, name=plan.name, output_dir=plan.output_dir)


def planned(one: NewJob, environment: Environment, taken: set[str]) -> NewJob:
    """The job, with an output folder that no other job of the queue writes into; ``taken`` gains it.

    Raises:
        UserError: it cannot be used.
    """
    plan = registry.by_name(one.kind).plan(one.config, environment, one.source or "config")
    config, name, output_dir = plan.config, one.name or plan.name, plan.output_dir
    if output_dir in taken:
        number = next(number for number in range(2, len(taken) + 3) if f"{output_dir}-{number}" not in taken)
        output_dir = f"{output_dir}-{number}"
        config = {**config, "output_dir": output_dir}
        if config.get("output_name"):
            config["output_name"] = f"{config['output_name']}-{number}"
        name = f"{name}-{number}"
    if output_dir:
        taken.add(output_dir)
    note = " ".join(filter(None, [one.note, *plan.notes]))
    return replace(one, name=name, config=config, output_dir=output_dir, note=note)
