"""A contact sheet: checkpoints of a training at several strengths, the same prompts and seeds for all, on one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .generate import DrawingOptions, checked
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read


@dataclass(frozen=True)
class ReviewOptions(DrawingOptions):
    """The keys of a contact sheet."""

    loras: list[str] = option([], "LoRA files, or folders of a training: all of its checkpoints.")
    strengths: list[float] = option([0.6, 0.8, 1.0], "Strengths of the LoRA to compare.")
    output_dir: str = option("", "Folder of the sheet and its images; empty takes the job's own.")


class Review(Kind):
    """``config`` has the keys of :class:`ReviewOptions`."""

    name = "review"
    lane = "device"
    reads = ("base_model", "loras")
    writes = ("output_dir",)

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = checked(ReviewOptions, config, environment, where)
        if not options["loras"] or not options["strengths"]:
            raise UserError(f"{where}: loras and strengths hold what is compared; neither may be empty.")
        options["loras"] = [absolute(path, environment) for path in options["loras"]]
        options["output_dir"] = absolute(options["output_dir"], environment)
        return Plan(f"Review {folder_name(options['loras'][0])}", options, options["output_dir"])

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Draw the images that are not there yet, then the sheet."""
        from ..drawing import Cell, draw
        from ..sheet import write_sheet

        options = read(ReviewOptions, job.config, job.name)
        folder = Path(options.output_dir) if options.output_dir else execution.folder / "review"
        loras = _files(options.loras)
        rows = [(lora, index, prompt) for lora in loras for index, prompt in enumerate(options.prompts)]
        cells = [
            Cell(lora, options.request(index, prompt, strength), folder / f"{lora.stem}-{strength:g}-{index:02d}.png")
            for strength in options.strengths
            for lora, index, prompt in rows
        ]
        draw(
            sorted(cells, key=lambda cell: loras.index(cell.lora) if cell.lora else 0),
            options.base_model,
            environment,
            stop=execution.stop,
            progress=execution.progress,
            check=lambda: stop_check(execution),
        )
        sheet = write_sheet(
            folder / "sheet.png",
            [[cells[column * len(rows) + row].path for column in range(len(options.strengths))]
             for row in range(len(rows))],
            [f"strength {strength:g}" for strength in options.strengths],
            [f"{lora.stem}: {prompt}" for lora, _, prompt in rows],
        )  # fmt: skip
        return Outcome("done", "", {"sheet": str(sheet), "images": [str(cell.path) for cell in cells]})


def _files(paths: list[str]) -> list[Path]:
    """The LoRA files, those of a folder in the order of their training.

    Raises:
        UserError: there is none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.safetensors"), key=lambda file: file.stat().st_mtime) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise UserError(
                f"loras: there is no LoRA at {path}; name a .safetensors file, or the folder of a training."
            )
        found += inside
    return found
