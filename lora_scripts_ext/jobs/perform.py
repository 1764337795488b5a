"""A claimed job performed in this process, from its first event to its end in the library."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from .. import crash
from ..errors import TrainingError, UserError
from ..library.queue import LeaseLost
from .environment import Environment
from .execution import Execution
from .kinds import registry
from .kinds.kind import Stopped
from .outcome import Outcome
from .records import Records

_FULL_PAUSE = 60.0
_WAIT_SECONDS, _WAITS = 5.0, 120


def perform(queue: Records, execution: Execution, environment: Environment) -> None:
    """Run the job of an entered ``execution`` and record its end; only ``SystemExit`` and the like get out."""
    claim = execution.claim
    try:
        queue.running(claim)
        outcome = registry.by_name(claim.job.kind).run(claim.job, execution, environment)
    except LeaseLost:
        return
    except Stopped:
        outcome = Outcome("stopped", "Stopped; what is done is kept, retry the job to continue.")
    except (UserError, TrainingError) as error:
        outcome = Outcome("failed", str(error))
    except Exception as error:  # noqa: BLE001 - the last place where a crash can become a sentence
        if is_full(error):
            reason = crash.sentence(error, None)
            patiently(lambda: queue.interrupted(claim, reason, _FULL_PAUSE))
            return
        outcome = Outcome("failed", crash.sentence(error, crash.write(execution.folder)))
    patiently(lambda: _record(queue, execution, outcome))


def is_full(error: BaseException) -> bool:
    """Whether the disk is full: nothing that the job can do anything about."""
    return crash.disk_is_full(error) or (isinstance(error, sqlite3.OperationalError) and "full" in str(error))


def _record(queue: Records, execution: Execution, outcome: Outcome) -> None:
    claim = execution.claim
    if outcome.state == "stopped" and execution.request == "requeue":
        queue.requeue(claim, "Its worker was stopped; it continues from its last state.")
    else:
        queue.finish(claim, outcome.state, outcome.reason, outcome.result)


def patiently(record: Callable[[], Any]) -> None:
    """Write to the library, again and again while it cannot be written: what came of a job must not be lost."""
    for _ in range(_WAITS):
        try:
            record()
            return
        except LeaseLost:
            return
        except sqlite3.OperationalError:
            time.sleep(_WAIT_SECONDS)
    # Whoever finds this process dead puts the job back into the queue, and it ends at once with the same result.
    record()
