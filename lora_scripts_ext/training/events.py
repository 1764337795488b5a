"""The event log of a run: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import files, json_text


class Events:
    """Appends to ``output_dir/events.jsonl``, one JSON object a line, flushed at once.

    A resumed run drops the lines after the state it resumes from: those steps are done again.
    """

    def __init__(self, output_dir: Path, first_step: int, tensorboard: bool) -> None:
        path = output_dir / "events.jsonl"
        if first_step and path.exists():
            _keep_until(path, first_step)
            self._file = path.open("a", encoding="utf-8")
        else:
            self._file = path.open("w", encoding="utf-8")
        self._board = _board(output_dir / "tensorboard", first_step) if tensorboard else None

    def write(self, event: dict[str, Any]) -> None:
        """Append one event; step events go to TensorBoard too."""
        self._file.write(json_text.dumps(event) + "\n")
        self._file.flush()
        if self._board is not None and event["event"] == "step":
            for name in ("loss", "learning_rate", "rate", "memory_mb"):
                self._board.add_scalar(name, event[name], event["step"])

    def close(self) -> None:
        """Close both logs."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _keep_until(path: Path, step: int) -> None:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # the line a killed process was writing
            continue
        if event.get("step", 0) <= step and event.get("event") not in ("end", "failed"):
            lines.append(line + "\n")
    files.write_text(path, "".join(lines))


def _board(folder: Path, first_step: int) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1)
