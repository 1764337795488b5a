"""``python -m lora_scripts_ext watch``: folders whose new images are trained on every night, from a shell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .. import config_file, terminal
from ..errors import UserError
from ..jobs import watch_options, watching
from ..jobs.environment import Standalone
from ..jobs.watch_view import watch_view
from ..library.database import Database
from ..library.model import Model
from ..library.models import Models
from ..library.queue import Queue
from ..library.watches import Watches
from . import data_dir


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``watch``; returns the exit code: 0 done, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        database = data_dir.opened(options.data_dir)
        return int(options.command(database, options))
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext watch",
        description="Take in a model's new images and train its next version at night; docs/watch.md has examples.",
    )
    command = partial(data_dir.subcommand, parser.add_subparsers(metavar="COMMAND", required=True))

    add = command("add", _add, "watch a folder for a model, or change how it is watched")
    add.add_argument("model", metavar="MODEL", help="name or id of the model")
    add.add_argument("--folder", default="", metavar="DIR", help="folder that new images arrive in")
    add.add_argument("--hour", default="", metavar="HH:MM", help="when they are trained on (default: 02:00)")
    add.add_argument("--fetch", default="", metavar="NAME", help="command in service.yaml that brings them")
    add.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="another key of the watch, such as captioner=names; may be repeated",
    )  # fmt: skip
    add.add_argument(
        "--train", action="append", default=[], metavar="KEY=VALUE",
        help="a key of the training that differs from the model's, such as learning_rate=5e-5; may be repeated",
    )  # fmt: skip
    command("list", _list, "list what is watched, one JSON object a line")
    for name, function, help in (
        ("remove", _remove, "watch no more; images and versions stay"),
        ("run-now", _run_now, "queue the update of a model at once"),
    ):
        command(name, function, help).add_argument("model", metavar="MODEL", help="name or id of the model")
    return parser


def _add(database: Database, options: argparse.Namespace) -> int:
    models, environment = Models(database), Standalone(options.data_dir.resolve())
    model = _model(models, options.model)
    values = config_file.overrides(options.set)
    values |= {key: value for key in ("hour", "fetch") if (value := getattr(options, key))}
    if options.folder:
        values["folder"] = str(Path(options.folder).expanduser().absolute())
    if options.train:
        values["train"] = config_file.overrides(options.train)
    config = watch_options.checked(values, models, environment, model, "watch")
    watch = Watches(database).put(model.id, config["folder"], config, environment.base_model())
    terminal.print_json(watch_view(database, watch))
    return terminal.DONE


def _list(database: Database, options: argparse.Namespace) -> int:
    for watch in Watches(database).all():
        terminal.print_json(watch_view(database, watch))
    return terminal.DONE


def _remove(database: Database, options: argparse.Namespace) -> int:
    Watches(database).remove(_model(Models(database), options.model).id)
    return terminal.DONE


def _run_now(database: Database, options: argparse.Namespace) -> int:
    model = _model(Models(database), options.model)
    job = watching.run_now(Queue(database), Standalone(options.data_dir.resolve()), model.id)
    terminal.print_json({"id": job.id, "name": job.name, "state": job.state})
    return terminal.DONE


def _model(models: Models, name_or_id: str) -> Model:
    """A model by its name, in any case, or its id.

    Raises:
        NotFound: there is none.
    """
    named = [
        one for one in models.page(search=name_or_id, limit=1000).models if one.name.casefold() == name_or_id.casefold()
    ]
    return named[0] if named else models.get(name_or_id)
