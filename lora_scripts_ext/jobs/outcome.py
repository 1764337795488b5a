"""How an attempt at a job has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..library.job import State


@dataclass(frozen=True)
class Outcome:
    """The end of a job.

    Attributes:
        reason: what happened and what to do, as a sentence; empty where all is well.
        result: what came of it, ready for JSON.
    """

    state: State
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
