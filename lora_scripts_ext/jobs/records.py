"""What an attempt at a job tells the library, and asks of it."""

from __future__ import annotations

from typing import Any, Protocol

from ..library.job import Claim, State, StopRequest


class Records(Protocol):
    """The part of ``Queue`` that an attempt uses; where the attempt runs on another machine, something that passes its
    words on."""

    def running(self, claim: Claim) -> None:
        """See :meth:`Queue.running`."""

    def begun(self, claim: Claim) -> None:
        """See :meth:`Queue.begun`."""

    def beat(self, claim: Claim, progress: dict[str, Any], step: int) -> StopRequest:
        """See :meth:`Queue.beat`."""

    def holds(self, claim: Claim) -> bool:
        """See :meth:`Queue.holds`."""

    def finish(self, claim: Claim, state: State, reason: str = "", result: dict[str, Any] | None = None) -> None:
        """See :meth:`Queue.finish`."""

    def requeue(self, claim: Claim, reason: str, pause: float = 0.0) -> None:
        """See :meth:`Queue.requeue`."""

    def interrupted(self, claim: Claim, reason: str, pause: float) -> None:
        """See :meth:`Queue.interrupted`."""
