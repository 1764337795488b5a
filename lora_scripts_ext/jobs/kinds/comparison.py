"""Two products compared: a card, and images of both in which each LoRA acts in its half alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import Interrupted, UserError
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .generate import Sampler
from .kind import Kind, Plan, Stopped, absolute, stop_check
from .options import option, read

if TYPE_CHECKING:
    from ...comparison.comparison import Comparison, Product

#: folder of the images in that of a job
FOLDER = "comparison"
SIDES = ("left", "right")
_MOST_WEIGHTS = 20
_MOST_ROWS = 200
_STRONGEST = 10.0


@dataclass(frozen=True)
class ComparisonOptions:
    """The keys of a comparison."""

    left: Any = option({}, "The left product: prompt, name, loras, photo, mask; or catalogue and product.")
    right: Any = option({}, "Likewise, the right product.")
    specs: Any = option([], "Rows of three texts (what is compared, left value, right value), or a CSV file of them.")
    prompt: str = option("", "Said of both products, behind the prompt of each.")
    negative: str = option("", "Negative prompt.")
    weights: list[float] = option([1.0], "The LoRAs' weights are multiplied by each; an image of both for each.")
    size: int = option(0, "Side of a picture in pixels; 0 takes the base model's.", low=0, high=4096)
    layout: Literal["wide", "tall"] = option("wide", "Of the card: wide, or tall for a phone.")
    title: str = option("", "Above both on the card.")
    seed: int = option(1234, "Seed of all images.", low=0, high=2**32 - 1)
    steps: int = option(20, "Sampling steps.", low=1, high=1000)
    cfg_scale: float = option(0.0, "CFG scale; 0 takes the usual one.", low=0, high=100)
    sampler: Sampler = option("Euler", "Sampler, by the WebUI's name.")
    producer: str = option("LoRA-Trainer", "Who makes the images, for their labels: ASCII without spaces.")
    base_model: str = option("", "Checkpoint or diffusers folder; in a WebUI the one that is loaded.")
    output_dir: str = option("", "Folder of the card and the images; empty takes the job's own.")


class Compare(Kind):
    """``config`` has the keys of :class:`ComparisonOptions`."""

    name = "comparison"
    lane = "device"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config; products of a catalogue are taken as they are now."""
        from ...comparison import specifications
        from ..compared import compared

        options = asdict(read(ComparisonOptions, config, where, required=SIDES))
        products = [compared(options[side], environment, f"{where}: {side}") for side in SIDES]
        options |= {side: product.config for side, product in zip(SIDES, products, strict=True)}
        if options["specs"] in ([], ""):
            rows = specifications.of_attributes(*(product.attributes for product in products))
        elif isinstance(options["specs"], str):
            rows = specifications.read(environment.readable(options["specs"]))
        else:
            rows = specifications.of_rows(options["specs"], where)
        options["specs"] = [[row.label, row.left, row.right] for row in rows]
        options["negative"] = options["negative"] or ", ".join(
            dict.fromkeys(product.negative for product in products if product.negative)
        )
        options["weights"] = list(dict.fromkeys(options["weights"]))
        _check(options, where)
        options["base_model"] = _base_model(
            options, [one.base_model for one in products if one.base_model], environment, where
        )
        options["output_dir"] = absolute(options["output_dir"], environment)
        names = [options[side]["name"] for side in SIDES]
        return Plan(" / ".join(names)[:200], options, options["output_dir"])

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Draw what is not there yet, then the card."""
        options = read(ComparisonOptions, job.config, job.name)
        folder = Path(options.output_dir) if options.output_dir else execution.folder / FOLDER

        def progress(done: int, total: int, what: str) -> None:
            execution.progress(done, total, what)
            stop_check(execution)

        result = draw_comparison(options, folder, environment, stop=execution.stop, progress=progress)
        return Outcome("done", "", result)


def draw_comparison(
    options: ComparisonOptions,
    folder: Path,
    environment: Environment,
    *,
    stop: Callable[[], None],
    progress: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Draw what is not there yet into ``folder``; returns what came of it, ready for JSON.

    ``stop`` is called when the user stops the host; ``progress`` after each image: what it raises ends the work.

    Raises:
        UserError: a file cannot be read, or the host cannot draw it.
        Stopped: the user has stopped the host.
    """
    from ... import files
    from ...comparison.compare import compare

    files.sweep(folder)
    comparison = _comparison(options)
    with ExitStack() as stack:
        drawer = None
        if comparison.needs_drawer:
            drawer = stack.enter_context(environment.host(stop).drawing(options.base_model))
        try:
            return compare(comparison, drawer, folder, progress).to_dict()
        except Interrupted as error:
            raise Stopped from error


def _check(options: dict[str, Any], where: str) -> None:
    for side in SIDES:
        if not options[side]["photo"] and not options[side]["prompt"]:
            raise UserError(f"{side}: there is neither a prompt nor a photo; give one of them.")
    weights = options["weights"]
    if not weights:
        raise UserError("weights is empty; give at least one number, such as 1.")
    if len(weights) > _MOST_WEIGHTS:
        raise UserError(f"{where}: there are {len(weights)} weights, at most {_MOST_WEIGHTS} are tried; take fewer.")
    if wrong := [one for one in weights if not math.isfinite(one) or abs(one) > _STRONGEST]:
        raise UserError(f"{where}: weights holds {wrong[0]:g}; it must be from -10 to 10.")
    if len(options["specs"]) > _MOST_ROWS:
        raise UserError(f"{where}: specs has {len(options['specs'])} rows, a card at most {_MOST_ROWS}; take fewer.")


def _base_model(options: dict[str, Any], of_catalogues: list[str], environment: Environment, where: str) -> str:
    """What is drawn with: as asked, else as a catalogue says, else the program's own; empty where nothing is drawn."""
    if all(options[side]["photo"] for side in SIDES):
        return ""
    chosen = options["base_model"] or next(iter(of_catalogues), "") or environment.base_model()
    if not chosen:
        raise UserError(
            f"{where}: base_model is missing; a product without a photo is drawn with a checkpoint, name one."
        )
    return absolute(chosen, environment)


def _comparison(options: ComparisonOptions) -> Comparison:
    from ...comparison.comparison import Comparison
    from ...comparison.specifications import of_rows

    return Comparison(
        left=_product(options.left),
        right=_product(options.right),
        specifications=of_rows(options.specs, "config"),
        title=options.title,
        layout=options.layout,
        prompt=options.prompt,
        negative=options.negative,
        weights=tuple(options.weights),
        side=options.size,
        seed=options.seed,
        steps=options.steps,
        cfg_scale=options.cfg_scale,
        sampler=options.sampler,
        producer=options.producer,
    )


def _product(side: dict[str, Any]) -> Product:
    from ...comparison import photo
    from ...comparison.comparison import Product
    from ...contract import WeightedLora

    mask = Path(side["mask"]) if side["mask"] else None
    picture = photo.read(Path(side["photo"]), mask) if side["photo"] else None
    loras = tuple(WeightedLora(Path(one["file"]), one["weight"]) for one in side["loras"])
    return Product(side["name"], side["prompt"], loras, picture)
