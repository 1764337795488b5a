"""Train a LoRA; an attempt that dies is resumed from its last state by the next."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import config as configs
from ... import config_names
from ...config_check import PATHS
from ...errors import UserError
from ...library.job import Job
from ...models.safetensors_file import read_header
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, Stopped, absolute

if TYPE_CHECKING:
    from ...contract import Session


class Train(Kind):
    """``config`` has the keys of a training's YAML; docs/config.md lists them."""

    name = "train"
    lane = "device"
    reads = tuple(key for key in PATHS if key not in ("output_dir", "cache_dir"))
    writes = ("output_dir",)
    caches = "cache_dir"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config; ``base_model`` and ``output_dir`` may be left to the server."""
        # Other trainers' names for the keys, too.
        values, notes = config_names.translated(config, where)
        if not values.get("base_model"):
            values["base_model"] = environment.base_model()
        if reason := environment.refuses_training(str(values["base_model"])):
            raise UserError(reason)
        if not values.get("output_dir") and values.get("output_name"):
            values["output_dir"] = str(environment.data_dir / _run_folder(str(values["output_name"]), where))
        # First of all: no path is looked at before it is known that it may be.
        paths = {key: absolute(values[key], environment) for key in PATHS if isinstance(values.get(key), str)}
        parsed = configs.from_dict({**values, **paths}, where)
        return Plan(parsed.name, parsed.changed(), parsed.output_dir, (*notes, *parsed.notes))

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Train to the end, or until stopped."""
        from ...training import publication, run
        from .. import publishing

        config = configs.from_dict(job.config, job.name)
        if job.model is not None:
            publication.inherit(Path(config.output_dir))
        publishes = environment.lora_dir() is not None

        def approve(session: Session, lora: Path) -> bool:
            return not (publishes and publishing.approval_is_required(environment.data_dir))

        def before_publishing() -> None:
            execution.require_lease()
            if publishes and job.model is not None:
                publishing.keep_before(environment, job.model, job.id, config.name)

        try:
            result = run.train(
                config,
                environment.host(execution.stop),
                resume="if-possible" if job.begun else False,
                report=execution.report,
                should_stop=execution.should_stop,
                before_publishing=before_publishing,
                approve=approve,
            )
        except run.Stopped as error:
            raise Stopped from error
        lora = str(result.lora) if result.lora else None
        facts = {
            "lora": lora, "published": str(result.published) if result.published else lora,
            "steps": result.steps, "loss": result.loss, "seconds": result.seconds,
            "dataset_version": _dataset_version(result.lora),
            "checkpoints": [str(path) for path in result.checkpoints],
            "previews": [str(path) for path in result.previews],
            "held_out": [asdict(one) for one in result.held_out], "warnings": result.warnings,
            "suggested": asdict(result.suggested) if result.suggested else None,
            "skipped": [{"name": one.name, "reason": one.reason} for one in result.skipped],
        }  # fmt: skip
        if result.stopped:
            return Outcome("stopped", f"Stopped at step {result.steps}; retry the job to continue from there.", facts)
        withheld = publishing.WITHHELD if job.model is not None else publishing.WITHHELD_ALONE
        return Outcome("done", withheld if publishes and result.published is None else "", facts)


def _dataset_version(lora: Path | None) -> str:
    """What the LoRA was trained on, a hash of images and captions, as the file states it."""
    try:
        return read_header(lora).metadata.get("ss_dataset_version", "") if lora else ""
    except UserError:
        # Somebody has moved it already.
        return ""


def _run_folder(name: str, where: str) -> Path:
    """The folder of a run, relative to the data folder.

    Raises:
        UserError: the name would lead elsewhere.
    """
    if bad := sorted(set(name) & set("/\\:\0")):
        raise UserError(f"{where}: output_name is {name!r}; a file name cannot hold {' '.join(bad)!r}.")
    return Path(name)
