"""The next version of a model from its new images, published if it is no worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import Conflict, UserError
from ...library import watches
from ...library.database import Database
from ...library.job import Job
from ...library.models import Models
from ..drafts import images_folder, require_in_use, training_config
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan
from .options import option, read
from .train import Train


@dataclass(frozen=True)
class UpdateOptions:
    """The keys of an update."""

    model: str = option("", "Id of a model that has a watch.")


class Update(Kind):
    """``config`` has the keys of :class:`UpdateOptions`; when it is queued, those of the watch and of the training are
    added as they are then."""

    name = "update"
    lane = "device"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Look up the model, its watch and its settings.

        Raises:
            NotFound: there is no such model, or it has no watch.
            Conflict: an update of it waits or runs already.
        """
        options = read(UpdateOptions, config, where, required=("model",))
        database = Database(environment.data_dir)
        try:
            models = Models(database)
            model, watch = models.get(options.model), watches.Watches(database).get(options.model)
            require_in_use(model)
            with database.reading() as connection:
                if other := watches.running(connection, self.name, model.id):
                    raise Conflict(f"{model.name}: its update {other} has not ended; wait for it, or cancel it.")
            images = images_folder(models, environment, model)
            own = training_config(models, model, watch.config["train"])
            # The folder of the run takes the job's id once there is one.
            home = models.home(model.id)
            own |= {"cache_dir": own.get("cache_dir") or str(home / "cache")}
            own |= {"output_dir": str(home / "runs" / "update")}
            if not own.get("base_model"):
                own["base_model"] = environment.base_model() or watch.state.get("base_model", "")
            train = Train().plan({**own, "train_data_dir": str(images)}, environment, f"{where}: {model.name}")
        finally:
            database.close()
        complete = {
            "model": model.id, "home": str(home), "watch": {**watch.config, "folder": watch.folder},
            "train": train.config, "base_model": train.config["base_model"],
            "device": train.config.get("device", "auto"),
        }  # fmt: skip
        return Plan(f"Update {model.name}", complete, "", train.notes)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Take in, check, caption, train, compare, publish; an attempt after one that died goes on where that was."""
        from ..updating import Updating

        if "train" not in job.config:
            raise UserError(f"{job.name}: its settings are missing; run the watch again.")
        return Updating(job, execution, environment).run()
