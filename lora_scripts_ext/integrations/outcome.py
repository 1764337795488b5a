"""What became of the images that were to be sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .journal import Journal
from .manifest import Image


@dataclass
class Outcome:
    """Counts, and a sentence for each image that was not sent. May be added to from several threads.

    Attributes:
        sent: images that are in the system since this run.
        unchanged: images that were there already.
    """

    sent: int = 0
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_sent(self, count: int = 1) -> None:
        """So many more are there."""
        with self._lock:
            self.sent += count

    def add_problem(self, sentence: str) -> None:
        """One cannot be sent."""
        with self._lock:
            self.problems.append(sentence)


class Service(Protocol):
    """A system that images are sent to."""

    @property
    def target(self) -> str:
        """Its address."""

    def send(self, images: Sequence[Image], journal: Journal, progress: Callable[[int, int], None]) -> Outcome:
        """Send what is not there already.

        Raises:
            UserError: the system cannot be reached, or refuses the keys.
        """
