"""One run of a fetch command: no shell, output into a log, ended with all its children when it takes too long."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .. import files
from ..library.fetches import Fetched
from ..owner import Owner
from .service_file import Fetch

FOLDER = "fetch"
# What a command prints beyond this would only fill the disk.
_MOST_BYTES = 1 << 20
_LOGS_KEPT = 30
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_PLAIN = re.compile(r"[^\w.-]")


def folder_of(data_dir: Path, name: str) -> Path:
    """Where a command is run and its logs are."""
    return data_dir / FOLDER / (_PLAIN.sub("_", name).strip(".") or "_")


def run(
    fetch: Fetch,
    folder: Path,
    day: str,
    *,
    on_start: Callable[[Owner], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[str, int | None]:
    """Run the command in ``folder`` until it ends, its time is over, or it should stop.

    Its output is appended to ``folder``/``day``.log. ``on_start`` is called with its process.

    Returns:
        How it ended, as a sentence, and its exit code; None where it could not be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _drop_old_logs(folder)
    with files.appending(folder / f"{day}.log") as log:
        _note(log, f"started: {' '.join(fetch.command)}")
        try:
            process = _start(fetch, folder)
        except (OSError, ValueError) as error:
            outcome = f"It cannot be started ({error}); check command in service.yaml."
            _note(log, outcome)
            return outcome, None
        on_start(Owner.of(process.pid))
        copying = threading.Thread(target=_copy, args=(process.stdout, log), name="lora-trainer-fetch", daemon=True)
        copying.start()
        outcome = _wait(process, fetch, should_stop)
        # Not for ever: a process that it has left behind may hold the pipe open.
        copying.join(1.0)
        _note(log, outcome)
    return outcome, process.returncode


def end_left_behind(died: Fetched) -> None:
    """End the command of a run whose own process has died in the middle, if it goes on by itself."""
    if died.child is not None and died.child.alive():
        end_group(died.child.pid)


def end_group(pid: int) -> None:
    """Kill a command's process and all it has started; nothing happens where they have ended."""
    if sys.platform == "win32":
        command = ["taskkill", "/F", "/T", "/PID", str(pid)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return
    # It leads its group, whose number stays taken as long as one of the group lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _start(fetch: Fetch, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(fetch.command), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def _wait(process: subprocess.Popen[bytes], fetch: Fetch, should_stop: Callable[[], bool]) -> str:
    until = time.monotonic() + 60 * fetch.timeout_minutes
    while (code := process.poll()) is None:
        if should_stop():
            _end(process)
            return "It was ended, as the service was stopped."
        if time.monotonic() > until:
            _end(process)
            return f"It took longer than {fetch.timeout_minutes:g} minutes and was ended; see timeout_minutes."
        time.sleep(_POLL_SECONDS)
    return "It has ended in order." if code == 0 else f"It failed with exit code {code}; see its log."


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, first with the request to do so."""
    if sys.platform != "win32":
        owner, until = Owner.of(process.pid), time.monotonic() + _GRACE_SECONDS
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        # Not waited for, which would free its number for another group before ours is killed.
        while owner.alive() is not False and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
    end_group(process.pid)
    process.wait()


def _copy(output: IO[bytes] | None, log: IO[bytes]) -> None:
    """What the command prints, whatever bytes it is, up to a limit."""
    written = 0
    # The log may be closed, where a process left behind goes on printing.
    with contextlib.suppress(ValueError, OSError):
        while output is not None and (block := os.read(output.fileno(), 1 << 16)):
            if written < _MOST_BYTES:
                log.write(block[: _MOST_BYTES - written])
                log.flush()
                if written + len(block) >= _MOST_BYTES:
                    _note(log, "the rest of what it prints is not kept")
            written += len(block)


def _note(log: IO[bytes], text: str) -> None:
    log.write(f"\n[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}\n".encode("utf-8", "backslashreplace"))
    log.flush()


def _drop_old_logs(folder: Path) -> None:
    for old in sorted(folder.glob("????-??-??.log"))[:-_LOGS_KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()
