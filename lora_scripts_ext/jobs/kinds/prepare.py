"""Make photos ready to train on: upright, cropped, of one size and format, in a folder of their own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read


@dataclass(frozen=True)
class PrepareOptions:
    """The keys of a preparation."""

    input: str = option("", "Folder or zip of photos; they are not changed.")
    output_dir: str = option("", "A new folder for the copies.")
    resolution: int = option(512, "Side in pixels that the base model was trained at.", low=64, high=16384)
    caption_encoding: str = option("", "Encoding of caption files that are not UTF-8, UTF-16 or clearly Chinese GBK.")
    rename: str = option("{name}", "New names, such as brand_{number:03d}.")
    crop: Literal["none", "centre", "smart", "pad"] = option(
        "smart", "smart crops around the subject, centre in the middle, pad adds white, none only scales."
    )
    format: Literal["png", "jpg", "webp"] = option("png", "File format of the copies.")
    remove_background: bool = option(False, "Put the subject on white; needs rembg.")


class Prepare(Kind):
    """``config`` has the keys of :class:`PrepareOptions`."""

    name = "prepare"
    lane = "files"
    reads = ("input",)
    writes = ("output_dir",)

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(PrepareOptions, config, where, required=("input", "output_dir")))
        options |= {key: absolute(options[key], environment) for key in ("input", "output_dir")}
        return Plan(f"Prepare {folder_name(options['input'])}", options, options["output_dir"])

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Prepare; a job that is tried again goes on where it was."""
        from ...preparation.prepare import PreparationOptions
        from ...preparation.training_set import ready

        options = read(PrepareOptions, job.config, job.name)
        preparation = PreparationOptions(options.rename, options.crop, options.format, options.remove_background)
        prepared = ready(
            Path(options.input),
            Path(options.output_dir),
            options.resolution,
            preparation,
            execution.progress,
            lambda: stop_check(execution),
            encoding=options.caption_encoding,
        )
        return Outcome(
            "done",
            "",
            {
                "made": len(prepared.copies),
                "without_caption": prepared.without_caption,
                "output_dir": options.output_dir,
                "skipped": [{"name": one.name, "reason": one.reason} for one in prepared.skipped],
                "warnings": list(prepared.warnings),
            },
        )
