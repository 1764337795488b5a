"""A library in a folder, and its jobs run in this process."""

from pathlib import Path
from typing import Any

from lora_scripts_ext.jobs import event_log, submit
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.jobs.report import Follower
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import Claim, Job, NewJob
from lora_scripts_ext.library.queue import Queue
from lora_scripts_ext.owner import Owner

LANE = "here cpu"


class Place:
    """A library with its queue and environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = Queue(Database(folder))
        self.environment = Standalone(folder)

    def add(self, config: dict[str, Any], kind: str = "train", **fields: Any) -> Job:
        """Queue a job."""
        return submit.submit(self.queue, self.environment, [NewJob(kind, config, **fields)])[0]

    def claim(self) -> Claim | None:
        """The first job that may run, for this process."""
        return self.queue.claim(LANE, Owner.current())

    def perform(self) -> Job:
        """Run the first job that may run, to its end."""
        claim = self.claim()
        with Execution(self.queue, claim, self.folder) as execution:
            perform(self.queue, execution, self.environment)
        return self.queue.get(claim.job.id)

    def report(self, job: Job) -> dict[str, Any]:
        """What the events of a job come to."""
        return Follower(event_log.folder(self.folder, job.id) / event_log.NAME).update().to_dict()
