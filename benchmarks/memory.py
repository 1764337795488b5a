"""How much memory something takes at its peak."""

from __future__ import annotations

import threading

import psutil

_PERIOD = 0.01


class Peak:
    """The largest resident set of this process since this object was created."""

    def __init__(self) -> None:
        self.bytes = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Stop watching; the peak in bytes."""
        self._over.set()
        self._thread.join()
        return self.bytes

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD):
            self.bytes = max(self.bytes, resident())


def resident() -> int:
    """Bytes of this process's resident set."""
    return psutil.Process().memory_info().rss
