"""A contact sheet: checkpoints of a training at several strengths, the same prompts and seeds for all, on one image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...library.job import Job
from .. import review_plan, review_prompts
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from ..review_plan import Checkpoint, Place
from .generate import DrawingOptions, checked
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read

if TYPE_CHECKING:
    from ..sheet import Language, Sheet

SHEET = "sheet.png"
STRENGTHS = (0.6, 0.8, 1.0)
_MOST_IMAGES = 1000
_STRONGEST = 10.0
_LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class ReviewOptions(DrawingOptions):
    """The keys of a contact sheet."""

    prompts: list[str] = option([], "Prompts; empty takes subjects that the captions in the LoRA's file do not name.")
    width: int = option(0, "Width in pixels; 0 takes that of the training.", low=0, high=8192)
    height: int = option(0, "Height in pixels; 0 takes that of the training.", low=0, high=8192)
    cfg_scale: float = option(0.0, "CFG scale (Flux: guidance); 0 takes the usual one.", low=0, high=100)
    loras: list[str] = option([], "LoRA files, or folders of a training.")
    most: int = option(review_plan.FEW, "Of a folder at most so many checkpoints; 0 takes all.", low=0, high=1000)
    strengths: list[float] = option(list(STRENGTHS), "Strengths of the LoRA to compare.")
    without_lora: bool = option(True, "Also draw with the base model alone.")
    suggested: str = option("", "Name of the checkpoint's file that is suggested.")
    suggested_strength: float = option(0.0, "The strength that is suggested with it; 0 for none.")
    title: str = option("", "What stands at the top of the sheet; empty takes the LoRA's name.")
    trigger_word: str = option("", "Of the LoRA, for prompts that are chosen.")
    model_kind: str = option("", "Kind of the model, such as product, for prompts that are chosen.")
    language: str = option("en", "Of the sheet: en or zh.")
    version: str = option("", "Id of the model's version that is reviewed.")
    output_dir: str = option("", "Folder of the sheet and its images; empty takes the job's own.")


class Review(Kind):
    """``config`` has the keys of :class:`ReviewOptions`."""

    name = "review"
    lane = "device"
    reads = ("base_model", "loras")
    writes = ("output_dir",)

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = checked(ReviewOptions, config, environment, where, required=("base_model",))
        if not options["loras"] or not options["strengths"]:
            raise UserError(f"{where}: loras and strengths hold what is compared; neither may be empty.")
        if wrong := [one for one in options["strengths"] if not -_STRONGEST <= one <= _STRONGEST]:
            raise UserError(f"{where}: strengths holds {wrong[0]:g}; it must be from -10 to 10.")
        if options["language"] not in _LANGUAGES:
            raise UserError(f"{where}: language is {options['language']!r}; valid: {', '.join(_LANGUAGES)}.")
        options["strengths"] = sorted(set(options["strengths"]))
        options["prompts"] = list(dict.fromkeys(options["prompts"]))
        options["loras"] = [absolute(path, environment) for path in options["loras"]]
        options["output_dir"] = absolute(options["output_dir"], environment)
        return Plan(f"Review {folder_name(options['loras'][0])}", options, options["output_dir"])

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Draw the images that are not there yet, then the sheet."""
        options = read(ReviewOptions, job.config, job.name)
        folder = Path(options.output_dir) if options.output_dir else execution.folder / "review"
        result = draw_sheet(
            options,
            folder,
            folder / SHEET,
            environment,
            stop=execution.stop,
            progress=execution.progress,
            check=lambda: stop_check(execution),
        )
        return Outcome("done", "", result)


def draw_sheet(
    options: ReviewOptions,
    folder: Path,
    sheet: Path,
    environment: Environment,
    *,
    stop: Callable[[], None],
    progress: Callable[[int, int, str], None],
    check: Callable[[], None],
) -> dict[str, Any]:
    """Draw what is not there yet into ``folder`` and write the sheet; returns what came of it, ready for JSON.

    ``stop``, ``progress`` and ``check``: see ``drawing.draw``.

    Raises:
        UserError: a file cannot be read, or too much is asked for.
    """
    from ..drawing import Cell, draw
    from ..sheet import write_sheet

    options, checkpoints, cells = planned(options, folder)
    own = as_trained(options, checkpoints)
    draw(
        [Cell(one.lora, own.request(one.index, one.prompt, one.strength), one.path) for one in cells],
        options.base_model,
        environment,
        stop=stop,
        progress=progress,
        check=check,
    )
    write_sheet(sheet, _sheet(own, checkpoints, cells))
    return {
        "sheet": str(sheet), "images": [str(cell.path) for cell in cells], "prompts": options.prompts,
        "strengths": options.strengths, "checkpoints": [str(one.file) for one in checkpoints],
    }  # fmt: skip


def planned(options: ReviewOptions, folder: Path) -> tuple[ReviewOptions, list[Checkpoint], list[Place]]:
    """The options with their prompts, the checkpoints that are compared, and the cells with their images in ``folder``.

    Raises:
        UserError: a file is missing, or there would be too many images.
    """
    checkpoints = review_plan.found(options.loras, options.most, options.suggested)
    prompts = options.prompts or prompts_of(checkpoints[-1], options.model_kind, options.trigger_word)
    options = replace(options, prompts=prompts)
    cells = review_plan.places(
        folder,
        [one.file for one in checkpoints],
        options.strengths,
        options.prompts,
        drawn_with(options),
        without_lora=options.without_lora,
    )
    if len(cells) > _MOST_IMAGES:
        raise UserError(f"loras: a sheet would have {len(cells)} images; take fewer checkpoints, strengths or prompts.")
    return options, checkpoints, cells


def drawn_with(options: DrawingOptions) -> tuple[Any, ...]:
    """What an image depends on beside its prompt, its LoRA and the base model."""
    return (
        options.negative_prompt, options.seed, options.width, options.height, options.steps, options.cfg_scale,
        options.sampler,
    )  # fmt: skip


def prompts_of(checkpoint: Checkpoint, kind: str = "", trigger_word: str = "") -> list[str]:
    """Prompts for a LoRA by what its file says: its captions' parts and, where none is given, its trigger word."""
    captions = review_plan.captions(checkpoint)
    word = trigger_word or review_plan.trigger_word(checkpoint)
    return review_prompts.suitable(kind, word, [one for one in captions if one != word])


def as_trained(options: ReviewOptions, checkpoints: Sequence[Checkpoint]) -> ReviewOptions:
    """The options with the sides that the first LoRA was trained at, where they name none and it says so."""
    width, height = review_plan.trained_size(checkpoints[0])
    return replace(options, width=options.width or width, height=options.height or height)


def _sheet(options: ReviewOptions, checkpoints: Sequence[Checkpoint], cells: Sequence[Place]) -> Sheet:
    from PIL import Image

    from ..sheet import Block, Column, Sheet

    images = {(one.lora, one.strength, one.index): one.path for one in cells}
    blocks = [
        Block(
            prompt,
            images.get((None, 0.0, index)),
            [[images[one.file, strength, index] for one in checkpoints] for strength in options.strengths],
        )
        for index, prompt in enumerate(options.prompts)
    ]
    first = cells[-len(options.prompts)]
    with Image.open(first.path) as image:
        parameters = str(image.info.get("parameters", ""))
    last = checkpoints[-1]
    columns = [
        Column(name, one.epoch if not name else None, one.step, one.final and len(checkpoints) > 1 and one is last,
               one.file.name == options.suggested)
        for one, name in zip(checkpoints, _names(checkpoints), strict=True)
    ]  # fmt: skip
    language: Language = "zh" if options.language == "zh" else "en"
    return Sheet(
        options.title or last.file.stem,
        _subtitle(parameters),
        columns,
        options.strengths,
        blocks,
        options.suggested_strength or None,
        language,
        parameters,
    )


def _names(checkpoints: Collection[Checkpoint]) -> list[str]:
    """What the columns are called; empty where the epoch says enough: checkpoints of one training, an epoch each."""
    epochs = [one.epoch for one in checkpoints]
    if len({one.file.parent for one in checkpoints}) == 1 and None not in epochs and len(set(epochs)) == len(epochs):
        return [""] * len(epochs)
    return list(review_plan.titles(checkpoints).values())


def _subtitle(parameters: str) -> str:
    """The last line of an image's parameters without its own seed."""
    parts = parameters.splitlines()[-1].split(", ") if parameters else []
    return ", ".join(part for part in parts if not part.startswith(("Seed:", "Model hash:")))
