"""Reports of jobs, each read on from where the last look ended."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from ..jobs import event_log
from ..jobs.report import Follower

_REMEMBERED = 64


class _Entry:
    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.follower = Follower(path)
        self.size = -1
        self.report: dict[str, Any] = {}


class Reports:
    """The reports that were asked for last. May be called from any thread."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, job: str) -> dict[str, Any]:
        """Figures, lists and curve of a job, as ``Report.to_dict`` gives them; to be read only."""
        path = event_log.folder(self._data_dir, job) / event_log.NAME
        with self._lock:
            entry = self._entries.pop(job, None) or _Entry(path)
            self._entries[job] = entry
            if len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)
        with entry.lock:
            try:
                size = path.stat().st_size
            except OSError:
                size = 0
            if size < entry.size:
                # Another file: the folder was deleted and made again.
                entry.follower = Follower(path)
            if size != entry.size:
                entry.report = entry.follower.update().to_dict()
                entry.size = size
            return entry.report
