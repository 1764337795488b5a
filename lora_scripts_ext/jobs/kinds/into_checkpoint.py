"""LoRAs merged into a base model, as a new checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, stop_check
from .merge import JOB, weights, written_by
from .options import option, read


@dataclass(frozen=True)
class IntoCheckpointOptions:
    """The keys of a merge into a checkpoint."""

    base_model: str = option("", "The checkpoint: a .safetensors file, or a diffusers folder.")
    loras: list[str] = option([], "LoRA files, or folders as PEFT or diffusers save them.")
    weights: list[float] = option([], "The weight of each; empty takes 1 for all.")
    output: str = option("", "The new .safetensors file, or folder; it must not exist.")


class IntoCheckpoint(Kind):
    """``config`` has the keys of :class:`IntoCheckpointOptions`."""

    name = "into_checkpoint"
    lane = "files"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        values = {**config, "base_model": config.get("base_model") or environment.base_model()}
        options = asdict(read(IntoCheckpointOptions, values, where, required=("base_model", "loras", "output")))
        options["weights"] = weights(options["loras"], options["weights"], where)
        options["loras"] = [absolute(path, environment) for path in options["loras"]]
        options |= {key: absolute(options[key], environment) for key in ("base_model", "output")}
        output = Path(options["output"])
        if output.exists():
            raise UserError(f"{where}: output is {output}; name a new file, nothing is overwritten.")
        return Plan(f"Merge into {Path(options['base_model']).name}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Write the checkpoint."""
        from ...adapters.into_checkpoint import into_checkpoint

        options = read(IntoCheckpointOptions, job.config, job.name)
        output = Path(options.output)
        if written_by(output, job):
            output.unlink()

        def progress(done: int, total: int, what: str) -> None:
            stop_check(execution)
            execution.progress(done, total, what)

        merged = into_checkpoint(
            Path(options.base_model), list(zip(map(Path, options.loras), options.weights, strict=True)), output,
            metadata={JOB: job.id}, progress=progress,
        )  # fmt: skip
        facts = merged.to_dict()
        return Outcome(
            "done",
            f"{merged.layers} layers of {merged.family} changed; rounding took {merged.rounding:.2g} of the change.",
            {"checkpoint": facts.pop("path"), **facts},
        )
