"""Generate images of prompts with a LoRA on its base model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import UserError
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read

if TYPE_CHECKING:
    from ...contract import PreviewRequest

Sampler = Literal["Euler", "Euler a", "DDIM", "DPM++ 2M", "DPM++ 2M Karras"]


@dataclass(frozen=True)
class DrawingOptions:
    """The keys that say how an image is drawn."""

    base_model: str = option("", "Checkpoint or diffusers folder; in a WebUI the one that is loaded.")
    prompts: list[str] = option([], "Prompts; one image each, or `count`.")
    negative_prompt: str = option("", "Negative prompt.")
    seed: int = option(1234, "Seed of the first image; each further one adds 1.", low=0, high=2**32 - 1)
    width: int = option(512, "Width in pixels.", low=16, high=8192)
    height: int = option(512, "Height in pixels.", low=16, high=8192)
    steps: int = option(20, "Sampling steps.", low=1, high=1000)
    cfg_scale: float = option(7.0, "CFG scale (Flux: guidance).", low=1, high=100)
    sampler: Sampler = option("Euler", "Sampler, by the WebUI's name.")

    def request(self, index: int, prompt: str, strength: float = 1.0) -> PreviewRequest:
        """The image with this number, from 0."""
        # torch, which comes with it, is not needed to queue a job.
        from ...contract import PreviewRequest

        return PreviewRequest(
            prompt=prompt,
            negative=self.negative_prompt,
            seed=(self.seed + index) % 2**32,
            width=self.width,
            height=self.height,
            steps=self.steps,
            cfg_scale=self.cfg_scale,
            sampler=self.sampler,
            strength=strength,
        )


@dataclass(frozen=True)
class GenerateOptions(DrawingOptions):
    """The keys of a generation."""

    lora: str = option("", "LoRA file; empty generates with the base model alone.")
    strength: float = option(1.0, "Multiplies the effect of the LoRA.", low=-10, high=10)
    count: int = option(1, "Images for each prompt.", low=1, high=10_000)
    output_dir: str = option("", "Folder of the images; empty takes the job's own.")


class Generate(Kind):
    """``config`` has the keys of :class:`GenerateOptions`."""

    name = "generate"
    lane = "device"
    reads = ("base_model", "lora")
    writes = ("output_dir",)

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = checked(GenerateOptions, config, environment, where)
        options |= {key: absolute(options[key], environment) for key in ("lora", "output_dir")}
        name = folder_name(options["lora"]) or folder_name(options["base_model"])
        return Plan(f"Generate with {name}", options, options["output_dir"])

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Draw the images that are not there yet."""
        from ..drawing import Cell, draw

        options = read(GenerateOptions, job.config, job.name)
        folder = Path(options.output_dir) if options.output_dir else execution.folder / "images"
        lora = Path(options.lora) if options.lora else None
        jobs = [(prompt, number) for prompt in options.prompts for number in range(options.count)]
        cells = [
            Cell(lora, options.request(index, prompt, options.strength), folder / f"{index:05d}.png")
            for index, (prompt, _) in enumerate(jobs)
        ]
        draw(
            cells,
            options.base_model,
            environment,
            stop=execution.stop,
            progress=execution.progress,
            check=lambda: stop_check(execution),
        )
        return Outcome("done", "", {"images": [str(cell.path) for cell in cells]})


def checked(
    kind: type[DrawingOptions],
    config: dict[str, Any],
    environment: Environment,
    where: str,
    required: tuple[str, ...] = ("base_model", "prompts"),
) -> dict[str, Any]:
    """The keys of a job that draws, checked, with its base model.

    Raises:
        UserError: a key or value is wrong, or something is missing.
    """
    values = {**config, "base_model": config.get("base_model") or environment.base_model()}
    options = asdict(read(kind, values, where, required))
    if not all(prompt.strip() for prompt in options["prompts"]):
        raise UserError(f"{where}: prompts holds an empty one; remove it.")
    options["base_model"] = absolute(options["base_model"], environment)
    return options
