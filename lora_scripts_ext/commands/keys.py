"""``python -m lora_scripts_ext keys``: who may call the API from other machines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from .. import terminal
from ..errors import UserError
from ..library.keys import Key, Keys
from ..time_text import iso
from . import data_dir


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``keys``; returns the exit code: 0 done, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        options.command(Keys(data_dir.opened(options.data_dir)), options)
        return terminal.DONE
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lora_scripts_ext keys", description="Manage the keys of the API.")
    command = partial(data_dir.subcommand, parser.add_subparsers(metavar="COMMAND", required=True))

    add = command("add", _add, "make a key and print it; it cannot be shown again")
    add.add_argument("name", metavar="NAME", help="what it is for")
    add.add_argument("--read-only", action="store_true", help="it may look, but change nothing")
    command("list", _list, "list the keys, without their secrets")
    command("revoke", _revoke, "let a key count no more").add_argument("id", metavar="ID")
    return parser


def _add(keys: Keys, options: argparse.Namespace) -> None:
    key, secret = keys.add(options.name, "read" if options.read_only else "write")
    terminal.print_json({**_view(key), "key": secret})


def _list(keys: Keys, options: argparse.Namespace) -> None:
    terminal.print_json([_view(key) for key in keys.all()])


def _revoke(keys: Keys, options: argparse.Namespace) -> None:
    terminal.print_json(_view(keys.revoke(options.id)))


def _view(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "name": key.name, "scope": key.scope, "created": iso(key.created), "revoked": iso(key.revoked),
    }  # fmt: skip
