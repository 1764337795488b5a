"""The events of a job, one JSON object a line, over all of its attempts: written by its owner, read by everyone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .. import files, json_text

NAME = "events.jsonl"
_BLOCK = 2**20


class Line(NamedTuple):
    """An event, and the offset in bytes behind it: reading from there gives the next ones."""

    end: int
    event: dict[str, Any]


def folder(data_dir: Path, job: str) -> Path:
    """Where what belongs to a job lies: its events, its output, its files."""
    return data_dir / "jobs" / job


class Writer:
    """Appends the events of one attempt."""

    def __init__(self, path: Path, attempt: int) -> None:
        """Open the file, creating its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._attempt = attempt
        self._file = files.appending(path)
        self._end_broken_line()

    def write(self, event: dict[str, Any]) -> None:
        """Append an event, with its time and attempt."""
        stamped = {"time": round(time.time(), 3), **event, "attempt": self._attempt}
        self._file.write((json_text.dumps(stamped) + "\n").encode("utf-8", "backslashreplace"))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _end_broken_line(self) -> None:
        """A killed process may have left half a line: what is appended must not become part of it."""
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
                self._file.flush()


def read(path: Path, start: int = 0) -> Iterator[Line]:
    """The events from the offset ``start`` on, as far as they are written; nothing where there is no file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        end, pending = start, b""
        while block := file.read(_BLOCK):
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                end += len(line) + 1
                event = _event(line)
                if event is not None:
                    yield Line(end, event)


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where it is empty, or what a killed process had begun to write."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
