"""``python -m lora_scripts_ext review``: a contact sheet of a LoRA, or of a training's checkpoints, from a shell."""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import terminal
from ..errors import UserError
from ..jobs import review_plan
from ..jobs.environment import Standalone
from ..jobs.kinds import review
from ..jobs.kinds.kind import Stopped
from ..jobs.kinds.options import read
from ..jobs.kinds.review import ReviewOptions
from ..jobs.review_plan import Checkpoint
from . import exit_code
from .interrupt import stop_on

_FOLDERS = (".", "models", "models/Stable-diffusion")
_EVENTS = "events.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``review``; returns the exit code: 0 done, 2 bad input, 130 stopped, 1 anything else."""
    options = _parser().parse_args(arguments)
    return exit_code.of(
        lambda: _review(options),
        stopped="stopped; what is drawn is kept, run the same command again to go on.",
        folder=_images(options.out),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext review",
        description="Draw a contact sheet: checkpoints of a training at several strengths, the same prompts and seeds "
        "for all. What is drawn already is not drawn again.",
    )
    parser.add_argument(
        "lora", nargs="+", type=terminal.path, metavar="LORA_OR_RUN", help="LoRA files, or the output_dir of a training"
    )
    parser.add_argument("--out", type=terminal.path, required=True, metavar="SHEET.png", help="where the sheet goes")
    parser.add_argument("--prompts", type=terminal.path, metavar="FILE", help="text file with a prompt on each line")
    parser.add_argument("--strengths", type=_numbers, default=list(review.STRENGTHS), metavar="0.6,0.8,1.0")
    parser.add_argument(
        "--base-model", type=terminal.path, metavar="FILE",
        help="checkpoint or diffusers folder (default: the one that it was trained on, where that is found)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoints", type=int, default=review_plan.FEW, metavar="N",
        help="of a training at most so many, the last one among them; 0 takes all (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a key of the job `review` in docs/jobs.md, such as steps=30 or seed=7; may be repeated",
    )  # fmt: skip
    return parser


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0.6,0.8,1.0") from error


def _review(options: argparse.Namespace) -> int:
    started = time.time()
    environment = Standalone(options.out.absolute().parent)
    found = review_plan.found([str(path) for path in options.lora])
    config = {
        **_suggested(found[-1]),
        **changes(options.set),
        "loras": [str(path) for path in options.lora],
        "strengths": options.strengths,
        "most": options.checkpoints,
        "output_dir": str(_images(options.out)),
    }
    config |= {"prompts": _prompts(options.prompts)} if options.prompts else {}
    config["base_model"] = str(options.base_model or _base_model(found[-1]))
    plan = review.Review().plan(config, environment, "review")
    counts: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    notice = "Stopping after this image; press again to stop at once."
    with stop_on(signals, lambda: terminal.print_message(notice)) as should_stop:

        def check() -> None:
            if should_stop():
                raise Stopped

        def progress(done: int, total: int, what: str) -> None:
            counts.append(done)
            terminal.count(done, total, what)

        result = review.draw_sheet(
            read(ReviewOptions, plan.config, "review"),
            _images(options.out),
            options.out,
            environment,
            stop=lambda: None,
            progress=progress,
            check=check,
        )
    drawn = counts[-1] - counts[0]
    terminal.print_json({
        **result, "base_model": plan.config["base_model"], "drawn": drawn, "seconds": round(time.time() - started, 1),
    })  # fmt: skip
    return terminal.DONE


def _images(sheet: Path) -> Path:
    """The folder of the sheet's images."""
    return sheet.with_name(f"{sheet.stem}-images")


def changes(settings: Sequence[str]) -> dict[str, Any]:
    """What ``--set KEY=VALUE`` says, each value as YAML reads it.

    Raises:
        UserError: one cannot be read.
    """
    import yaml

    values: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write KEY=VALUE, such as steps=30.")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {text}: the value cannot be read; put it in quotes.") from error
    return values


def _prompts(path: Path) -> list[str]:
    """The lines of a text file, without empty ones and those that begin with #."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: this file is not UTF-8; save it as UTF-8.") from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise UserError(f"{path}: there is no prompt in this file; write one on each line.")
    return prompts


def _base_model(one: Checkpoint) -> Path:
    """The base model that a LoRA was trained on, by its training's log, else by what its file says.

    Raises:
        UserError: it is not known, or not there.
    """
    for event in _logged(one.file.parent, "start"):
        path = Path(str(event.get("base_model") or "."))
        if path.name and path.exists():
            return path
    name, digest = (one.metadata.get(key, "") for key in ("ss_sd_model_name", "ss_new_sd_model_hash"))
    for path in _candidates(one.file, name) if name and digest else ():
        from ..models.weights import sha256

        terminal.print_message(f"Is {path} the base model of {one.file.name}? Comparing its hash.")
        if sha256([path]) == digest:
            return path
    trained_on = f" It was trained on {name}." if name else ""
    raise UserError(f"{one.file}: its base model was not found.{trained_on} Name it with --base-model FILE.")


def _suggested(one: Checkpoint) -> dict[str, Any]:
    """The checkpoint and strength that its training suggests, as keys of a sheet; none where it suggests none."""
    for event in _logged(one.file.parent, "suggested"):
        try:
            name, strength = Path(event["checkpoint"]).name, float(event["strength"])
        except (LookupError, TypeError, ValueError):
            break
        return {"suggested": name, "suggested_strength": strength}
    return {}


def _logged(run: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The events of this kind in the log of the trainings in a folder, the last first."""
    try:
        lines = (run / _EVENTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in reversed(lines):
        if f'"{kind}"' not in line:
            continue
        try:
            event = json.loads(line)
        except ValueError:
            # The last line of a run that was killed.
            continue
        if isinstance(event, dict) and event.get("event") == kind:
            yield event


def _candidates(lora: Path, name: str) -> Iterator[Path]:
    """Files of this name where base models usually lie: below the working folder, and beside the folder of LoRAs."""
    beside = lora.absolute().parent.parent / "Stable-diffusion"
    for folder in (*map(Path, _FOLDERS), lora.parent, beside):
        for path in (folder / name, folder / f"{name}.safetensors"):
            if path.is_file():
                yield path
