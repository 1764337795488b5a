"""The data folder of the service, as its commands take it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from .. import terminal
from ..library import rebuild
from ..library.database import Database

_VARIABLE = "LORA_TRAINER_DATA_DIR"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-dir``."""
    parser.add_argument(
        "--data-dir",
        type=terminal.path,
        metavar="DIR",
        default=Path(os.environ.get(_VARIABLE) or "lora_trainer"),
        help=f"folder of the library, jobs and runs (default: ${_VARIABLE}, else lora_trainer)",
    )


def subcommand(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, function: Callable[..., object], help: str
) -> argparse.ArgumentParser:
    """A command below another one, with ``--data-dir``; ``function`` is its ``command`` among the options."""
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    add_option(parser)
    parser.set_defaults(command=function)
    return parser


def opened(folder: Path) -> Database:
    """The library in ``folder``; what had to be done about a damaged one goes to stderr.

    Raises:
        UserError: it cannot be opened.
    """
    database = Database(folder, rebuild.from_folders)
    for text in database.warnings:
        terminal.print_message(f"warning: {text}")
    return database
