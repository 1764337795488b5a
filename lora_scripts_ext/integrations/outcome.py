"""What became of the images that were to be sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .client import Refused
from .journal import Journal
from .manifest import Image, Place


@dataclass
class Outcome:
    """Counts, and a sentence for each image that was not sent. May be added to from several threads.

    Attributes:
        sent: images that are in the system since this run.
        unchanged: images that were there already.
        withdrawn: images that this run has taken out.
    """

    sent: int = 0
    unchanged: int = 0
    withdrawn: int = 0
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

    def withdraw(self, place: Place, journal: Journal) -> None:
        """Take the image that was sent to a place out of its product; what is not there any more is left alone.

        Raises:
            Refused: the system does not take it out.
            UserError: as above.
        """


def withdraw(service: Service, places: Sequence[Place], journal: Journal, outcome: Outcome) -> None:
    """Take out what was sent to these places.

    Raises:
        UserError: the system cannot be reached, or refuses the keys.
    """
    for place in places:
        try:
            service.withdraw(place, journal)
        except Refused as refused:
            outcome.add_problem(
                f"{place.sku}: image {place.position} of {place.channel} cannot be taken out ({refused.reason}); "
                "remove it there."
            )
            continue
        journal.write_withdrawn(place)
        outcome.withdrawn += 1
