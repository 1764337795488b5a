"""``python -m lora_scripts_ext COMMAND``: the service and what belongs to it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from . import terminal

#: command -> its module in ``commands``, what it does
COMMANDS = {
    "serve": ("serve", "serve the API, and run the queued jobs"),
    "jobs": ("jobs", "queue trainings and other jobs, list, order, stop and retry them"),
    "worker": ("worker", "run the queued jobs on this machine, or on a Ray cluster"),
    "watch": ("watch", "take in a model's new images and train its next version every night"),
    "review": ("review", "draw a contact sheet of a LoRA's checkpoints at several strengths"),
    "catalogue": ("catalogue", "draw the images of a product list, approve them, finish them for channels"),
    "keys": ("keys", "make, list and revoke the keys of the API"),
    "openapi": ("openapi", "print the OpenAPI document of the API"),
    "library": ("library", "list, merge, resize, rename, import, export and check the LoRAs of the library"),
}
_SERVICE = ("fastapi", "uvicorn", "starlette", "pydantic")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    terminal.accept_any_encoding()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in COMMANDS:
        help_text = "\n".join(f"  {name:9} {text}" for name, (_, text) in COMMANDS.items())
        asked = words[:1] in (["-h"], ["--help"])
        write = terminal.print_line if asked else terminal.print_message
        for line in f"usage: python -m lora_scripts_ext COMMAND ...\n\ncommands:\n{help_text}".splitlines():
            write(line)
        return terminal.DONE if asked else terminal.BAD_INPUT
    try:
        module = importlib.import_module(f".commands.{COMMANDS[words[0]][0]}", __package__)
        code: int = module.main(words[1:])
    except ModuleNotFoundError as error:
        if error.name not in _SERVICE:
            raise
        terminal.print_message(
            f"error: {words[0]} needs the package {error.name}, which is not installed here; install it with "
            "`pip install .[service]`, or use the Python of .venv."
        )
        return terminal.BAD_INPUT
    return code


if __name__ == "__main__":
    sys.exit(main())
