"""Columns that somebody has given once, kept for the next list with the same headers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import files, json_text
from ..errors import UserError
from . import columns
from .columns import Columns

#: of the mappings, in the data folder
FOLDER = "columns"


class Mappings:
    """The mappings in a folder, a file for each set of headers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, headers: Sequence[str]) -> Columns:
        """The columns of a list with these headers, in any order; without any where none were given."""
        try:
            return Columns.from_dict(json.loads(self._path(headers).read_text(encoding="utf-8")))
        except (OSError, ValueError, UserError):
            # Not there, or not ours any more: the columns are guessed, and shown.
            return Columns()

    def keep(self, headers: Sequence[str], given: Mapping[str, str]) -> None:
        """Keep what was given for a list with these headers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        files.write_text(self._path(headers), json_text.dumps(dict(given), indent=1))

    def _path(self, headers: Sequence[str]) -> Path:
        return self._folder / f"{columns.key(headers)}.json"
