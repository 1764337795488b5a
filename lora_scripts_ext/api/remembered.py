"""Answers about the library that are given again until it changes: many clients ask for the same."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from ..library.database import Database

_ENTRIES = 256
# What depends on the time of day as well, such as what a job waits for, may be so old.
_SECONDS = 1.0


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version = -1
        self.at = 0.0
        self.body = b""


class Remembered:
    """Answers by what was asked. May be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The answer to ``key``: that of before, or, after any change of the library, what ``make`` gives."""
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry
            if len(self._entries) > _ENTRIES:
                self._entries.popitem(last=False)
        with entry.lock:
            # Asked for before the answer is made: a change in between makes it old, never too new.
            version = self._database.version()
            if version != entry.version or time.monotonic() - entry.at > _SECONDS:
                entry.body = make()
                entry.version, entry.at = version, time.monotonic()
            return entry.body
