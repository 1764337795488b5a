"""``python -m lora_scripts_ext catalogue compare``: two products side by side, from a shell."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from PIL import Image

from .. import crash, files, terminal
from ..comparison import specifications
from ..comparison.card import LAYOUTS
from ..comparison.compare import compare
from ..comparison.comparison import Comparison, Product
from ..contract import WeightedLora
from ..errors import UserError
from ..hosts.standalone.host import StandaloneHost
from ..images import decode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``catalogue compare``; returns the exit code: 0 done, 2 bad input, 130 stopped, 1 anything else."""
    options = _parser().parse_args(arguments)
    try:
        return _compare(options)
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT
    except KeyboardInterrupt:
        terminal.print_message("stopped.")
        return terminal.STOPPED
    except Exception as error:  # noqa: BLE001 - the last place where a crash can become a sentence
        terminal.print_message(f"error: {crash.sentence(error, crash.write(options.out))}")
        return terminal.FAILED


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
    files.sweep(options.out)
    comparison = Comparison(
        left=_product(options, "left"),
        right=_product(options, "right"),
        specifications=specifications.read(options.specs) if options.specs else (),
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
    comparison.check()
    if comparison.needs_drawer and options.base_model is None:
        raise UserError("A product without a photo is drawn with a base model; name it with --base-model FILE.")
    with ExitStack() as stack:
        drawer = None
        if comparison.needs_drawer:
            drawer = stack.enter_context(StandaloneHost().drawing(str(options.base_model)))
        result = compare(comparison, drawer, options.out, terminal.count)
    for warning in result.warnings:
        terminal.print_message(f"warning: {warning}")
    terminal.print_json({**result.to_dict(), "seconds": round(time.time() - started, 1)})
    return terminal.DONE


def _product(options: argparse.Namespace, side: str) -> Product:
    prompt, name, loras, photo = (
        getattr(options, key) for key in (side, f"{side}_name", f"{side}_lora", f"{side}_photo")
    )
    return Product(name or prompt, prompt, tuple(loras), _photo(photo) if photo else None)


def _photo(path: Path) -> Image.Image:
    """Upright, with its transparency."""
    try:
        decoded = decode.decode(path.read_bytes())
    except decode.Unreadable as error:
        raise UserError(f"{path}: this photo {error}; choose another.") from error
    if decoded.alpha is None:
        return decoded.pixels
    picture = decoded.pixels.convert("RGBA")
    picture.putalpha(decoded.alpha)
    return picture


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
