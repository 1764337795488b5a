"""``python -m lora_scripts_ext openapi``: the OpenAPI document of the API, as docs/openapi.json has it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .. import terminal
from ..jobs.environment import Standalone
from ..library.database import Database


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the document to stdout; returns the exit code 0."""
    sys.stdout.buffer.write(document().encode())
    return terminal.DONE


def document() -> str:
    """The document of the routes, as JSON."""
    from ..api import system
    from ..api.access import on_loopback
    from ..api.app import routes
    from ..api.service import Service

    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder))
        try:
            router = routes(Service(database, Standalone(Path(folder))), on_loopback())
            return json.dumps(system.openapi(router), indent=1, ensure_ascii=False) + "\n"
        finally:
            database.close()
