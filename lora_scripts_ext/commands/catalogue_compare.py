"""``python -m lora_scripts_ext catalogue compare``: two products side by side, from a shell."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

from .. import terminal
from ..comparison.card import LAYOUTS
from ..contract import WeightedLora
from ..errors import UserError
from ..jobs.environment import Standalone
from ..jobs.kinds.comparison import Compare, ComparisonOptions, draw_comparison
from ..jobs.kinds.options import read
from . import exit_code

# Options that are called as the job's keys are.
_SAME = (
    "weights", "prompt", "negative", "title", "layout", "size", "seed", "steps", "cfg_scale", "sampler", "producer",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``catalogue compare``; returns the exit code: 0 done, 2 bad input, 130 stopped, 1 anything else."""
    options = _parser().parse_args(arguments)
    return exit_code.of(
        lambda: _compare(options),
        stopped="stopped; what is drawn is kept, run the same command again to go on.",
        folder=options.out,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext catalogue compare",
        description="Compare two products: a card with their pictures and specifications, and one image of both in "
        "which each LoRA acts in its half alone. One of them, or both, may be a photo, which stays as it is.",
    )
    for side in ("left", "right"):
        parser.add_argument(
            f"--{side}", required=True, metavar="TEXT", help=f"the {side} product's prompt, and its name on the card"
        )
        parser.add_argument(f"--{side}-name", default="", metavar="TEXT", help="its name, where that is another")
        parser.add_argument(
            f"--{side}-lora", action="append", default=[], type=_lora, metavar="FILE[:WEIGHT]",
            help="a LoRA that acts on it; may be repeated",
        )  # fmt: skip
        parser.add_argument(f"--{side}-photo", type=terminal.path, metavar="FILE", help="a photo instead of a drawing")
    parser.add_argument(
        "--specs", type=terminal.path, metavar="FILE", help="CSV: what is compared, the left value, the right value"
    )
    parser.add_argument(
        "--weights", type=_numbers, default=[1.0], metavar="0.6,0.8,1.0",
        help="multiply the LoRAs' weights by each of these; the image with the least bleeding is named (default: 1)",
    )  # fmt: skip
    parser.add_argument("--base-model", type=terminal.path, metavar="FILE", help="checkpoint or diffusers folder")
    parser.add_argument("--out", type=terminal.path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="said of both products")
    parser.add_argument("--negative", default="", metavar="TEXT", help="negative prompt")
    parser.add_argument("--title", default="", metavar="TEXT", help="above both on the card")
    parser.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0], help="of the card (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=0, metavar="PIXELS", help="of a picture (default: the base model's)"
    )
    parser.add_argument("--seed", type=int, default=1234, metavar="N")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="sampling steps (default: %(default)s)")
    parser.add_argument("--cfg-scale", type=float, default=0.0, metavar="X", help="default: the base model's")
    parser.add_argument("--sampler", default="Euler", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--producer", default="LoRA-Trainer", metavar="NAME", help="for the label in the files")
    return parser


def _compare(options: argparse.Namespace) -> int:
    started = time.time()
    environment = Standalone(options.out.absolute().parent)
    config = {
        "left": _side(options, "left"),
        "right": _side(options, "right"),
        "specs": str(options.specs.absolute()) if options.specs else "",
        "base_model": str(options.base_model or ""),
        "output_dir": str(options.out),
        **{key: getattr(options, key) for key in _SAME},
    }
    if options.base_model is None and not (options.left_photo and options.right_photo):
        raise UserError("A product without a photo is drawn with a base model; name it with --base-model FILE.")
    plan = Compare().plan(config, environment, "compare")
    result = draw_comparison(
        read(ComparisonOptions, plan.config, "compare"),
        options.out,
        environment,
        stop=lambda: None,
        progress=terminal.count,
    )
    for warning in result["warnings"]:
        terminal.print_message(f"warning: {warning}")
    terminal.print_json({**result, "seconds": round(time.time() - started, 1)})
    return terminal.DONE


def _side(options: argparse.Namespace, side: str) -> dict[str, Any]:
    """A product, as the job has it."""
    prompt, name, loras, photo = (
        getattr(options, key) for key in (side, f"{side}_name", f"{side}_lora", f"{side}_photo")
    )
    return {
        "prompt": prompt,
        "name": name,
        "loras": [{"file": str(one.file.absolute()), "weight": one.weight} for one in loras],
        "photo": str(photo or ""),
    }


def _lora(text: str) -> WeightedLora:
    """``FILE`` or ``FILE:WEIGHT``; a colon may also be part of the path, as in ``C:\\lora.safetensors``."""
    file, colon, weight = text.rpartition(":")
    try:
        number = float(weight)
    except ValueError:
        return WeightedLora(terminal.path(text))
    if not colon or not math.isfinite(number):
        return WeightedLora(terminal.path(text))
    return WeightedLora(terminal.path(file), number)


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0.6,0.8,1.0") from error
    if not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} holds something that is not finite")
    return numbers
