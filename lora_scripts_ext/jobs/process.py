"""The process of one job: ``python -m lora_scripts_ext.jobs.process DATA_DIR JOB FENCE LANE``, started by a worker.

It ends by itself when its standard input ends: the worker is gone, or asks for the job back.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from .. import terminal
from ..library.database import Database
from ..library.job import Claim
from ..library.queue import LeaseLost, Queue
from ..owner import Owner
from .environment import Standalone
from .execution import Execution
from .perform import perform


def main(arguments: list[str]) -> int:
    """Perform the job; the exit code is 0 whatever came of it, as the library says that."""
    terminal.accept_any_encoding()
    data_dir, job, fence, lane = Path(arguments[0]), arguments[1], int(arguments[2]), arguments[3]
    queue = Queue(Database(data_dir))
    claim = Claim(queue.get(job), fence, lane)
    try:
        queue.take_over(claim, Owner.current())
    except LeaseLost:
        return 0
    with Execution(queue, claim, data_dir) as execution:
        threading.Thread(target=_give_back_at_end, args=(execution,), name="lora-trainer-worker", daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: execution.give_back())
        perform(queue, execution, Standalone(data_dir))
    return 0


def _give_back_at_end(execution: Execution) -> None:
    # Not sys.stdin: its lock would be held for ever, and the interpreter waits for it at its end.
    while os.read(0, 4096):
        pass
    execution.give_back()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
