"""A job on a node: a Ray actor for each. It has no library; a worker elsewhere asks it for news and answers for it.

This module does not import Ray: the worker makes an actor of ``Node``.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..jobs.environment import Standalone
from ..jobs.execution import Execution
from ..jobs.perform import perform
from ..library.job import Claim, Job, State, StopRequest
from ..library.queue import LeaseLost
from ..owner import Owner, tag_is_alive
from ..training import lock
from . import blobs
from .blobs import Blobs
from .outbox import Outbox
from .roots import Root

FOLDER_VARIABLE = "LORA_TRAINER_NODE_DIR"
# A worker that does not ask for so long is gone, or on the other side of a broken network, where another attempt at the
# job may have begun.
_SILENT_SECONDS = 120.0
_TOUCH_SECONDS = 60.0
_WORK_SECONDS = 30.0
_DELIVERED_WITH = ("state", "checkpoint", "preview")
_MOST_OUTPUT = 2**20


class Node:
    """Runs one job in a thread. Its methods return soon, are called one at a time, and take and return plain data."""

    def __init__(self) -> None:
        self._folder = _own_folder()
        self._blobs = Blobs(self._folder / "blobs")
        self._work = self._folder / "work" / Owner.current().tag()
        self._records = _Records()
        self._outbox: Outbox | None = None
        self._output = 0
        self._ended = threading.Event()
        self._died = ""

    def about(self) -> dict[str, Any]:
        """Which version of this package runs here, on which machine, in which folder."""
        return {"version": __version__, "host": socket.gethostname(), "node": _node_id(), "work": str(self._work)}

    def sees(self, marker: str, content: str, sizes: dict[str, int]) -> bool:
        """Whether this machine has the worker's files at the same paths.

        marker: a file with this ``content`` that the worker has just written.
        sizes: for each path its size in bytes, or -1 for a folder.
        """
        try:
            if Path(marker).read_text(encoding="utf-8") != content:
                return False
            return all(
                Path(path).is_dir() if size < 0 else Path(path).stat().st_size == size for path, size in sizes.items()
            )
        except OSError:
            return False

    def missing(self, digests: list[str]) -> list[str]:
        """Those of the files with these SHA-256 that are not on this node."""
        return self._blobs.missing(digests)

    def store(self, parts: list[tuple[str, int, int, bytes]]) -> None:
        """Take parts of files, each with SHA-256, offset and size of the whole file; see :meth:`Blobs.store`."""
        for digest, offset, size, content in parts:
            self._blobs.store(digest, offset, size, content)

    def begin(self, order: dict[str, Any]) -> None:
        """Start the job.

        order: ``job``, ``fence`` and ``lane`` of the claim, with the paths of this node; ``roots``; ``inputs``: for
        each root its files, with SHA-256 and modification time; ``shared``: whether the worker's paths are used;
        ``data_dir`` for the environment, empty for the working folder; ``caches``: the config's key for a cache, and a
        name for it; ``most_bytes`` that the node keeps.
        """
        if self._outbox is not None:
            return
        job = Job(**order["job"])
        roots = [Root(**one) for one in order["roots"]]
        self._tidy(order["most_bytes"])
        for root, inputs in zip(roots, order["inputs"], strict=True):
            folder = root.on_node(self._work)
            folder.mkdir(parents=True, exist_ok=True)
            for name, digest, modified in inputs:
                self._blobs.place(digest, folder / name, modified, own=root.written)
        self._outbox = Outbox(roots, self._work)
        if order["caches"]:
            key, name = order["caches"]
            cache = self._folder / "caches" / name
            cache.mkdir(parents=True, exist_ok=True)
            job.config[key] = str(cache)
        self._take_output()
        environment = Standalone(Path(order["data_dir"]) if order["data_dir"] else self._work)
        arguments = (Claim(job, order["fence"], order["lane"]), environment, bool(order["shared"]))
        threading.Thread(target=self._perform, args=arguments, name=f"job {job.name}", daemon=True).start()
        threading.Thread(target=self._keep, args=(job, order["caches"]), name="lora-trainer-cache", daemon=True).start()

    def news(self, request: StopRequest, holds: bool, events: int, output: int, fetched: int) -> dict[str, Any]:
        """What has happened since the last call, and what the worker has to say.

        Args:
            request: what the job has been asked for.
            holds: whether this attempt is the current one.
            events: how many events the worker has.
            output: how many bytes of output it has.
            fetched: number of the delivery that it has fetched; 0 for none.
        """
        if self._outbox is None:
            raise RuntimeError("news() before begin()")
        self._records.hear(request, holds)
        if fetched:
            self._outbox.fetched(fetched)
        # In this order: what ends the job comes after its last files.
        ended, died = self._ended.is_set(), self._died
        delivery = self._outbox.first()
        return {
            "events": self._records.events_from(events, delivery.number if delivery else math.inf),
            "output": self._output_from(output),
            "delivery": delivery.to_dict() if delivery else None,
            "end": self._records.end if ended and delivery is None else None,
            "died": died if ended and delivery is None else "",
        }

    def read(self, delivery: int, root: int, name: str, offset: int, count: int) -> bytes:
        """A part of a file that is to be delivered."""
        if self._outbox is None:
            raise RuntimeError("read() before begin()")
        return self._outbox.read(delivery, (root, name), offset, count)

    def close(self) -> None:
        """Delete what the job had on this node but for what is kept between jobs."""
        shutil.rmtree(self._work, ignore_errors=True)

    def _perform(self, claim: Claim, environment: Standalone, shared: bool) -> None:
        records, outbox = self._records, self._outbox
        if outbox is None:
            raise RuntimeError("the job was started before its outbox")
        records.deliver = outbox.add
        try:
            if shared and claim.job.output_dir and (wait := lock.seconds_until_free(Path(claim.job.output_dir))):
                records.requeue(claim, "Another machine may still write into its folder.", wait)
                return
            with Execution(records, claim, self._work, listen=records.report) as execution:
                perform(records, execution, environment)
        except Exception as error:  # noqa: BLE001 - the thread's last words
            self._died = f"{type(error).__name__}: {error}"
        finally:
            self._ended.set()

    def _keep(self, job: Job, caches: Sequence[str]) -> None:
        """Note again and again that the cache is used, for as long as the job runs."""
        while caches and not self._ended.wait(_TOUCH_SECONDS):
            with contextlib.suppress(FileNotFoundError):
                blobs.touch(Path(job.config[caches[0]]))

    def _tidy(self, most_bytes: float) -> None:
        """Delete the working folders of actors that are gone, and what has not been used for longest."""
        for left in (self._folder / "work").glob("*"):
            with contextlib.suppress(ValueError):
                if tag_is_alive(left.name) is False:
                    shutil.rmtree(left, ignore_errors=True)
        blobs.tidy((self._folder / "blobs", self._folder / "caches"), most_bytes)

    def _take_output(self) -> None:
        """From now on what this process prints, native code included, goes into a file that the worker reads."""
        with (self._work / "output.log").open("ab") as file:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)

    def _output_from(self, offset: int) -> bytes:
        try:
            with (self._work / "output.log").open("rb") as file:
                file.seek(offset)
                return file.read(_MOST_OUTPUT)
        except FileNotFoundError:
            return b""


class _Records:
    """What the job says, until the worker asks; what the worker has said last."""

    def __init__(self) -> None:
        #: keeps the job's folders as they are now, for the worker
        self.deliver: Callable[[], int] = lambda: 0
        self.end: dict[str, Any] | None = None
        self._deliver_at = time.monotonic() + _WORK_SECONDS
        self._heard = threading.Condition()
        self._calls = 0
        self._heard_at = time.monotonic()
        self._request: StopRequest = ""
        self._holds = True
        # With the number of the delivery that has the files that it speaks of.
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._dropped = 0
        self._delivery = 0

    def hear(self, request: StopRequest, holds: bool) -> None:
        """The worker asks for news."""
        with self._heard:
            self._request, self._holds = request, holds
            self._heard_at = time.monotonic()
            self._calls += 1
            self._heard.notify_all()

    def report(self, event: dict[str, Any]) -> None:
        """The job reports an event; with some of them files are delivered."""
        now = time.monotonic()
        if event["event"] in _DELIVERED_WITH or (event["event"] == "work" and now >= self._deliver_at):
            self._delivery = self.deliver()
            self._deliver_at = time.monotonic() + _WORK_SECONDS
        with self._heard:
            self._events.append((self._delivery, {"time": round(time.time(), 3), **event}))

    def events_from(self, number: int, delivery: float) -> list[dict[str, Any]]:
        """The events from this number on, as far as this delivery has their files; the worker has those before."""
        with self._heard:
            del self._events[: max(number - self._dropped, 0)]
            self._dropped = max(number, self._dropped)
            return [event for needed, event in self._events if needed <= delivery]

    def running(self, claim: Claim) -> None:
        """The worker says so itself."""

    def begun(self, claim: Claim) -> None:
        """The worker learns it from the events."""

    def beat(self, claim: Claim, progress: dict[str, Any], step: int) -> StopRequest:
        """See :meth:`Queue.beat`; the worker keeps the lease alive, for as long as it asks for news."""
        with self._heard:
            if not self._holds or time.monotonic() - self._heard_at > _SILENT_SECONDS:
                raise LeaseLost(f"The worker of attempt {claim.fence} at job {claim.job.id} is not heard any more.")
            return self._request

    def holds(self, claim: Claim) -> bool:
        """See :meth:`Queue.holds`: what the worker says in its next two calls, the first of which may be under way."""
        with self._heard:
            calls = self._calls
            return self._heard.wait_for(lambda: self._calls >= calls + 2, _SILENT_SECONDS) and self._holds

    def finish(self, claim: Claim, state: State, reason: str = "", result: dict[str, Any] | None = None) -> None:
        """See :meth:`Queue.finish`."""
        self.deliver()
        self.end = {"how": "finish", "state": state, "reason": reason, "result": result or {}}

    def requeue(self, claim: Claim, reason: str, pause: float = 0.0) -> None:
        """See :meth:`Queue.requeue`."""
        self.deliver()
        self.end = {"how": "requeue", "reason": reason, "pause": pause}

    def interrupted(self, claim: Claim, reason: str, pause: float) -> None:
        """See :meth:`Queue.interrupted`."""
        self.end = {"how": "interrupted", "reason": reason, "pause": pause}


def _node_id() -> str:
    """Ray's id of this node; empty outside of Ray."""
    ray = sys.modules.get("ray")
    return str(ray.get_runtime_context().get_node_id()) if ray is not None and ray.is_initialized() else ""


def _own_folder() -> Path:
    """The folder that a node keeps between jobs.

    Raises:
        UserError: it belongs to someone else.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"lora-trainer-{user}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Anyone may make a folder in /tmp, and fill it for others.
    if not named and hasattr(os, "getuid") and (folder.is_symlink() or folder.stat().st_uid != user):
        raise UserError(f"{folder} on {socket.gethostname()} belongs to someone else; set {FOLDER_VARIABLE} there.")
    return folder
