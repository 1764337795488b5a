"""Work that takes a while, for a page that shows how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import UserError
from ..parallel import Check, Progress

_PERIOD = 0.5


class Stopped(Exception):
    """The user pressed Stop."""


class Task:
    """One piece of work at a time; its progress is a sentence, its end a value or an error."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._stop = threading.Event()

    def run(self, work: Callable[[Progress, Check], Any]) -> Iterator[str | Any]:
        """Do ``work`` in a thread of its own; yield sentences while it goes on, and last what it returns.

        Raises:
            UserError: other work is going on, or what ``work`` raises.
            Stopped: the user stopped it.
        """
        if not self._busy.acquire(blocking=False):
            raise UserError("The images are being processed already; wait until that has ended, or press Stop.")
        try:
            self._stop.clear()
            yield from self._watched(work)
        finally:
            self._busy.release()

    def stop(self) -> None:
        """Ask the task to end after the current image; does nothing without one."""
        self._stop.set()

    def _watched(self, work: Callable[[Progress, Check], Any]) -> Iterator[str | Any]:
        state: dict[str, Any] = {"text": "Reading the folder."}
        over = threading.Event()

        def progress(done: int, total: int, what: str) -> None:
            state["text"] = f"{done} of {total} {what}."

        def check() -> None:
            if self._stop.is_set():
                raise Stopped

        def go() -> None:
            try:
                state["result"] = work(progress, check)
            except BaseException as error:  # noqa: BLE001 - raised again in the handler
                state["error"] = error
            finally:
                over.set()

        threading.Thread(target=go, name="lora-trainer-images", daemon=True).start()
        try:
            while not over.wait(_PERIOD):
                yield state["text"]
        finally:
            # A page that is closed ends the generator, not the work: that is waited for, so that no second begins.
            over.wait()
        if "error" in state:
            raise state["error"]
        yield state["result"]
