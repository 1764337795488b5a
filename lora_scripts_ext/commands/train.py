"""``train.py``'s command line: arguments in, progress to stderr, one JSON line to stdout, an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from .. import config as configs
from .. import crash, terminal
from ..config import Config
from ..errors import TrainingError, UserError
from ..progress import Progress
from ..terminal import BAD_INPUT, DONE, FAILED, STOPPED
from .interrupt import stop_on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``train.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (state saved), 1 anything else.

    With 1 the last state that was good is kept.
    """
    terminal.accept_any_encoding()
    options = _parser().parse_args(arguments)
    config: Config | None = None
    try:
        config = configs.load(Path(options.config), options.set)
        return _dry_run(config) if options.dry_run else _train(config, options.resume)
    except UserError as error:
        _print_message(f"error: {error}")
        return BAD_INPUT
    except TrainingError as error:
        _print_message(f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        _print_message("stopped before a state could be saved; earlier states are kept.")
        return STOPPED
    except Exception as error:  # noqa: BLE001 - the last place where a crash can become a sentence
        details = crash.write(Path(config.output_dir) if config else Path())
        _print_message(f"error: {crash.sentence(error, details)}")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train.py", description="Train a LoRA as a YAML or TOML file says.")
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML or TOML file; see configs/ for examples")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file; may be repeated"
    )
    resume = parser.add_mutually_exclusive_group()
    resume.add_argument("--resume", action="store_true", help="continue from the newest saved state in output_dir")
    resume.add_argument(
        "--resume-if-possible",
        dest="resume",
        action="store_const",
        const="if-possible",
        help="the same, but start at 0 where there is no saved state: for scripts",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the estimate, train nothing")
    return parser


def _train(config: Config, resume: bool | Literal["if-possible"]) -> int:
    # Heavy imports wait until the config is known to be right.
    from ..hosts.standalone.host import StandaloneHost
    from ..training import run

    progress = Progress(sys.stderr)
    signals = (signal.SIGINT, signal.SIGTERM)
    notice = "Stopping after this step; press again to stop at once."
    with stop_on(signals, lambda: _print_message(notice)) as should_stop:
        try:
            result = run.train(config, StandaloneHost(), resume=resume, report=progress, should_stop=should_stop)
        except run.Stopped:
            _print_message("stopped while preparing; the cached images are kept for the next run.")
            return STOPPED
        finally:
            progress.close()
    if _is_main_process():
        terminal.print_json({
            "lora": str(result.lora) if result.lora else None,
            "steps": result.steps,
            "seconds": result.seconds,
            "loss": round(result.loss, 6),
            "checkpoints": [str(path) for path in result.checkpoints],
            "skipped": [{"picture": one.name, "reason": one.reason} for one in result.skipped],
            "held_out": [asdict(one) for one in result.held_out],
            "suggested": asdict(result.suggested) if result.suggested else None,
            "warnings": result.warnings,
        })  # fmt: skip
    if result.stopped:
        _print_message(f"stopped at step {result.steps}; run the same command with --resume to continue.")
        return STOPPED
    return DONE


def _dry_run(config: Config) -> int:
    from ..hosts.standalone.inspection import inspect
    from ..training.estimate import estimate

    plan = estimate(config, inspect(config), int(os.environ.get("WORLD_SIZE", "1")))
    for line in plan.lines():
        terminal.print_line(line)
    terminal.print_json(plan.to_dict())
    return DONE


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _print_message(text: str) -> None:
    if _is_main_process():
        terminal.print_message(text)
