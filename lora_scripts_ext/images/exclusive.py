"""One change at a time to our files beside a folder's images, among the threads and processes of this machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from .. import file_lock
from ..errors import Conflict
from .excluded import HIDDEN

#: what is changed: captions and the list of excluded images, or the images themselves; and how long to wait for that
_WAIT_SECONDS = {"captions": 30.0, "import": 600.0}
_LOCKS: dict[Path, threading.RLock] = {}
_GUARD = threading.Lock()


@contextmanager
def changing(folder: Path, what: Literal["captions", "import"] = "captions") -> Iterator[None]:
    """Hold the folder's captions and list of excluded images from reading to writing them, or its names of files.

    Raises:
        Conflict: another program holds them for long.
        OSError: nothing can be written into the folder.
    """
    with _GUARD:
        lock = _LOCKS.setdefault(folder.resolve() / what, threading.RLock())
    until = time.monotonic() + _WAIT_SECONDS[what]
    if not lock.acquire(timeout=_WAIT_SECONDS[what]):
        raise _busy(folder)
    try:
        path = folder / HIDDEN / f"{what}.lock"
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while file_lock.take(handle) is False:
                if time.monotonic() > until:
                    raise _busy(folder)
                time.sleep(0.02)
            yield
        finally:
            os.close(handle)
    finally:
        lock.release()


def _busy(folder: Path) -> Conflict:
    return Conflict(f"{folder}: another program is changing what is there; try again when it is done.")
