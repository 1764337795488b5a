"""How a command's errors become a sentence and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .. import terminal
from ..errors import TrainingError, UserError
from ..jobs.kinds.kind import Stopped


def of(work: Callable[[], int], *, stopped: str, folder: Path) -> int:
    """The exit code of ``work``: its own, 2 for bad input, 130 where it was stopped, 1 for anything else.

    Args:
        work: does what the command is for.
        stopped: what is said where it was stopped.
        folder: where the traceback of a crash is written.
    """
    try:
        return work()
    except (UserError, OSError) as error:
        terminal.print_error(error)
        return terminal.BAD_INPUT
    except TrainingError as error:
        terminal.print_message(f"error: {error}")
        return terminal.FAILED
    except (Stopped, KeyboardInterrupt):
        terminal.print_message(stopped)
        return terminal.STOPPED
    except Exception as error:  # noqa: BLE001 - the last place where a crash can become a sentence
        # It needs torch, for which no other command should wait.
        from .. import crash

        terminal.print_message(f"error: {crash.sentence(error, crash.write(folder))}")
        return terminal.FAILED
