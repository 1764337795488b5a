"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import file_lock
from ..errors import UserError
from ..owner import Owner

NAME = "run.lock"
_BEAT_SECONDS = 15.0
# A run on another machine cannot be looked up. One that has not touched its lock for this long counts as dead.
_SILENT_SECONDS = 300.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is created if missing, for this run.

    The system's own file lock decides, as it ends with the process; the file says who holds it, which decides where the
    file system is shared with other machines or knows no locks. Afterwards the file is gone, and with it a folder that
    was created for it and stayed empty.

    Raises:
        UserError: another run is writing there, or nothing can be written there.
    """
    existed = folder.is_dir()
    path = folder / NAME
    handle = _acquired(path)
    stop = threading.Event()
    beat = threading.Thread(target=_keep_fresh, args=(path, stop), name="lora-trainer-lock", daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        _release(path, handle)
        if not existed:
            # Not empty: the run has left something, as it should.
            with contextlib.suppress(OSError):
                folder.rmdir()


def seconds_until_free(folder: Path) -> float:
    """How long a lock in ``folder`` that a run on another machine has left still counts as held; 0 where there is none.

    Unlike ``locked`` this is no error: such a run may have died with its machine.
    """
    path = folder / NAME
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            holder = _holder(handle)
        finally:
            os.close(handle)
        age = time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
    elsewhere = holder is not None and holder.alive() is None
    return max(_SILENT_SECONDS - age, 0.0) if elsewhere else 0.0


def _acquired(path: Path) -> int:
    """The lock file, open, locked and holding this process's name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _claim(path, handle)
            except BaseException:
                os.close(handle)
                raise
            # The run before may have deleted the file between our opening and locking it.
            if os.name == "nt" or _is_still(path, handle):
                return handle
            os.close(handle)
    except OSError as error:
        raise UserError(
            f"output_dir: {path.parent} cannot be written ({error.strerror}); choose another folder."
        ) from error


def _claim(path: Path, handle: int) -> None:
    free = file_lock.take(handle)
    holder = _holder(handle)
    if free is False or (holder is not None and _holds(holder, path, free)):
        who = f"process {holder.pid} on {holder.host}" if holder else "another process"
        raise UserError(
            f"output_dir: {path.parent} is being written by another run ({who}); wait for it, stop it, or choose "
            f"another output_dir. If that run is certainly dead, delete {path}."
        )
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps(dataclasses.asdict(Owner.current())).encode())
    os.fsync(handle)


def _holds(holder: Owner, path: Path, free: bool | None) -> bool:
    """Whether the run that the file names may still be alive, though the system's lock is free or there is none."""
    if holder.host == Owner.current().host and free:
        return False
    alive = holder.alive()
    return time.time() - path.stat().st_mtime < _SILENT_SECONDS if alive is None else alive


def _holder(handle: int) -> Owner | None:
    """Who wrote the file last; None where it is new or damaged."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        return Owner(**json.loads(os.read(handle, 4096)))
    except (OSError, ValueError, TypeError):
        return None


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _keep_fresh(path: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _release(path: Path, handle: int) -> None:
    if os.name == "nt":
        # Windows deletes no file that is open.
        os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink()
        return
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(handle)
