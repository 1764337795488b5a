"""LoRAs that are there made into another: several added up, or one brought to another rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ... import file_name
from ...errors import UserError
from ...library.job import Job
from ...models.safetensors_file import read_header
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, stop_check
from .options import option, read

if TYPE_CHECKING:
    from ...adapters.merge import Made

#: in the metadata of a file that a job has written: its id
JOB = "lora_trainer.job"
Precision = Literal["", "fp32", "fp16", "bf16"]
_PRECISION = "Precision of the result; empty takes that of the LoRAs."


@dataclass(frozen=True)
class MergeOptions:
    """The keys of a merge."""

    loras: list[str] = option([], "LoRA files, or folders as PEFT or diffusers save them.")
    weights: list[float] = option([], "The weight of each; empty takes 1 for all.")
    rank: int = option(0, "Rank of the result, the nearest of that rank; 0 is exact, with all ranks.", low=0, high=4096)
    precision: Precision = option("", _PRECISION)
    output_dir: str = option("", "Folder of the new file; empty takes the job's own.")
    output_name: str = option("merged", "Its name.")
    lineage: dict[str, Any] = option({}, "Where the LoRAs come from, as the library is to remember it.")


@dataclass(frozen=True)
class ResizeOptions:
    """The keys of a resize."""

    lora: str = option("", "A LoRA file, or a folder as PEFT or diffusers save one.")
    rank: int = option(16, "Rank of the result.", low=1, high=4096)
    precision: Precision = option("", _PRECISION)
    output_dir: str = option("", "Folder of the new file; empty takes the job's own.")
    output_name: str = option("resized", "Its name.")


class Merge(Kind):
    """``config`` has the keys of :class:`MergeOptions`."""

    name = "merge"
    lane = "files"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(MergeOptions, config, where, required=("loras",)))
        options["weights"] = weights(options["loras"], options["weights"], where)
        options["loras"] = [absolute(path, environment) for path in options["loras"]]
        return _plan(options, environment, where, "Merge")

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Write the sum."""
        from ...adapters.merge import merge

        options = read(MergeOptions, job.config, job.name)
        loras = list(zip(map(Path, options.loras), options.weights, strict=True))
        out = _out(job, execution)
        made = merge(
            loras, out, rank=options.rank or None, precision=options.precision, metadata={JOB: job.id},
            progress=_progress(execution),
        )  # fmt: skip
        parts = [{"file": str(path), "weight": weight} for path, weight in loras]
        return Outcome("done", _sentence(made), {**_facts(made), "lineage": options.lineage or {"parts": parts}})


class Resize(Kind):
    """``config`` has the keys of :class:`ResizeOptions`."""

    name = "resize"
    lane = "files"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(ResizeOptions, config, where, required=("lora",)))
        options["lora"] = absolute(options["lora"], environment)
        return _plan(options, environment, where, "Resize")

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Write the nearest LoRA of the rank."""
        from ...adapters.merge import resize

        options = read(ResizeOptions, job.config, job.name)
        made = resize(
            Path(options.lora), _out(job, execution), options.rank, precision=options.precision,
            metadata={JOB: job.id}, progress=_progress(execution),
        )  # fmt: skip
        return Outcome("done", _sentence(made), {**_facts(made), "init_lora": options.lora})


def weights(loras: list[str], given: list[float], where: str) -> list[float]:
    """A weight for each LoRA.

    Raises:
        UserError: there are more or fewer.
    """
    if given and len(given) != len(loras):
        raise UserError(f"{where}: weights has {len(given)} numbers for {len(loras)} LoRAs; give one for each.")
    return given or [1.0] * len(loras)


def written_by(path: Path, job: Job) -> bool:
    """Whether the file is there, and an attempt at this job has written it."""
    try:
        return path.is_file() and read_header(path).metadata.get(JOB) == job.id
    except UserError:
        return False


def _plan(options: dict[str, Any], environment: Environment, where: str, title: str) -> Plan:
    if problem := file_name.problem(options["output_name"], also_forbidden=","):
        raise UserError(f"{where}: output_name is {options['output_name'][:80]!r}; {problem}.")
    options["output_dir"] = absolute(options["output_dir"], environment)
    return Plan(f"{title} {options['output_name']}", options, options["output_dir"])


def _out(job: Job, execution: Execution) -> Path:
    """The file to be written; what an attempt before this one has written is deleted."""
    folder = Path(job.config["output_dir"]) if job.config["output_dir"] else execution.folder
    out = folder / f"{job.config['output_name']}.safetensors"
    if written_by(out, job):
        out.unlink()
    return out


def _progress(execution: Execution) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        stop_check(execution)
        execution.progress(done, total, what)

    return progress


def _sentence(made: Made) -> str:
    low, high = made.ranks
    ranks = f"rank {high}" if low == high else f"ranks {low} to {high}"
    return f"{made.layers} layers of {ranks} in {made.precision}; the relative error is {made.error:.2g}."


def _facts(made: Made) -> dict[str, Any]:
    metadata = read_header(made.path).metadata
    facts = made.to_dict()
    return {
        "lora": facts.pop("path"),
        **facts,
        "base_model": metadata.get("ss_sd_model_name") or metadata.get("ss_base_model_version", ""),
    }
