"""The WebUI's generation lock while a run holds the model: requests wait or are refused.

Importable only inside a WebUI.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modules import call_queue, fifo_lock, progress, shared

from .generation_setting import REFUSE, SETTING

TRAINING = "A LoRA is being trained on this model; wait for it, or stop it in the LoRA Trainer tab."
DRAWING = "Images of a catalogue are being drawn with this model; wait for them, or stop that in the LoRA Trainer tab."
# They only split a prompt into tokens; typing would otherwise fill the server's threads with waiting calls.
_READERS = ("update_token_counter", "update_negative_prompt_token_counter")

# Seconds that a caller of when_free waits.
_PATIENCE = 5.0


class Busy(RuntimeError):
    """Raised where an image is requested; the WebUI's API answers with ``status_code`` and ``detail``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.status_code = 503
        self.detail = reason


class _HeldLock(fifo_lock.FIFOLock):
    """The WebUI's lock as others find it during a run."""

    readers: set[int]
    reason: str

    def __enter__(self) -> bool:
        # The lock is all that callers touch, without saying what for: that stands in the caller's frame.
        caller = sys._getframe(1).f_locals
        if getattr(caller.get("func"), "__name__", "") in _READERS:
            self.readers.add(threading.get_ident())
            return True
        if getattr(shared.opts, SETTING) == REFUSE:
            # The page's name for it, and the API's.
            _unqueue(caller.get("id_task") or caller.get("task_id"))
            raise Busy(self.reason)
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        if threading.get_ident() in self.readers:
            self.readers.remove(threading.get_ident())
        else:
            self.release()


@contextmanager
def acquired(reason: str = TRAINING) -> Iterator[None]:
    """Hold the lock: generation, from the page or the API, waits for its turn or is refused with ``reason``."""
    lock = call_queue.queue_lock
    with lock:
        before = lock.__class__
        lock.readers, lock.reason = set(), reason
        # In place: the API holds on to the lock itself. Whoever is inside leaves by the class he entered by.
        lock.__class__ = _HeldLock
        try:
            yield
        finally:
            lock.__class__ = before


def when_free(action: Callable[[], None]) -> None:
    """Call ``action`` while nothing is drawn: at once, or after the image in progress, before those asked for later.

    Returns after a few seconds, whether it has been called by then or not.
    """

    def call() -> None:
        with call_queue.queue_lock:
            action()

    thread = threading.Thread(target=call, name="lora-trainer-when-free", daemon=True)
    thread.start()
    thread.join(_PATIENCE)


def held() -> bool:
    """Whether a run is going on."""
    return isinstance(call_queue.queue_lock, _HeldLock)


def reason() -> str:
    """Why the lock is held by a run, as a sentence."""
    return call_queue.queue_lock.reason


def _unqueue(task: str | None) -> None:
    """The page stops polling the progress of ``task``."""
    if task is not None:
        progress.pending_tasks.pop(task, None)
        progress.finish_task(task)
