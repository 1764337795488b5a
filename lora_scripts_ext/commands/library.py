"""``python -m lora_scripts_ext library``: models and jobs with all their files as one archive, and their LoRAs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .. import terminal
from ..errors import UserError
from ..library import archive, restore, verification
from ..library.model import KINDS
from . import data_dir, library_loras


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``library``; returns the exit code: 0 done, 1 ``check`` found something, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT
    except KeyboardInterrupt:
        terminal.print_message("stopped; nothing has changed.")
        return terminal.STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext library", description="Models and jobs with all their files."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, function, help in (
        ("export", _export, "write the whole library into one .zip file"),
        ("import", _import, "list a folder's LoRA files, or read an archive into a data folder without models or jobs"),
        ("check", _check, "check the tables and the files that they name"),
    ):
        sub = data_dir.subcommand(commands, name, function, help)
        if name != "check":
            sub.add_argument("file", type=terminal.path, metavar="FILE.zip" if name == "export" else "FOLDER|FILE.zip")
        if name == "import":
            sub.add_argument("--kind", choices=KINDS, help="of a folder's models; without it sub-folders' names say it")
            sub.add_argument("--tag", action="append", default=[], help="of a folder's models; again for another")
    library_loras.add(commands)
    return parser


def _export(options: argparse.Namespace) -> int:
    summary = archive.export_library(data_dir.opened(options.data_dir), options.file, terminal.count)
    return _done(summary, file=str(options.file))


def _import(options: argparse.Namespace) -> int:
    if options.file.is_dir():
        return library_loras.import_folder(options)
    if not options.file.is_file():
        raise UserError(f"{options.file}: there is no such file; check the path.")
    summary = restore.import_library(data_dir.opened(options.data_dir), options.file, terminal.count)
    return _done(summary, data_dir=str(options.data_dir))


def _check(options: argparse.Namespace) -> int:
    found = verification.problems(data_dir.opened(options.data_dir), terminal.count)
    for text in found:
        terminal.print_message(text)
    terminal.print_json({"problems": found})
    return terminal.FAILED if found else terminal.DONE


def _done(summary: archive.Summary, **more: Any) -> int:
    for note in summary.notes:
        terminal.print_message(f"note: {note}")
    terminal.print_json({**more, **asdict(summary)})
    return terminal.DONE
