"""What a person at a terminal sees of a run."""

from __future__ import annotations

import time
from typing import Any, TextIO

from .terminal import printable, write

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Writes events as text: one line rewritten on a terminal, a line every few seconds elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._open_line = False
        self._last = 0.0
        self._steps = 0
        self._epochs = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event of the run."""
        kind = event["event"]
        if kind == "start":
            self._steps, self._epochs = event["steps"], event["epochs"]
            self._line(
                f"{event['pictures']} images, {event['parameters']:,} parameters, "
                f"steps {event['step']} to {event['steps']}"
            )
        elif kind == "prepare":
            self._passing(
                f"preparing {event['what']} {event['done']}/{event['total']}", event["done"] == event["total"]
            )
        elif kind == "drawing" and event["done"] < event["total"]:
            self._passing(f"drawing preview {event['done'] + 1}/{event['total']}", False)
        elif kind == "step":
            self._passing(self._step(event), event["step"] == self._steps)
        elif kind == "skipped":
            self._line(f"skipped {event['picture']}: {event['reason']}")
        elif kind == "warning":
            self._line(f"warning: {event['text']}")
        elif kind in ("checkpoint", "preview"):
            self._line(f"{kind} {event['path']}")

    def close(self) -> None:
        """End an open line."""
        if self._open_line:
            write("\n", self._stream)
            self._open_line = False

    def _step(self, event: dict[str, Any]) -> str:
        eta = _duration(event["eta"]) if event["eta"] is not None else "?"
        return (
            f"epoch {event['epoch']}/{self._epochs} step {event['step']}/{self._steps} loss {event['loss']:.4f} "
            f"{event['rate']:.2f} steps/s ETA {eta}"
        )

    def _passing(self, text: str, last: bool) -> None:
        """A line that the next one replaces; off a terminal only some are written."""
        now = time.monotonic()
        if self._terminal:
            write(f"\r\x1b[K{printable(text)}", self._stream)
            self._open_line = True
        elif last or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._line(text)

    def _line(self, text: str) -> None:
        self.close()
        write(printable(text) + "\n", self._stream)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
