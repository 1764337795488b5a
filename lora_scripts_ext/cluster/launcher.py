"""Jobs started on a Ray cluster. The worker alone has the library and publishes; a node only computes for it."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from .. import __version__, crash, files
from ..errors import TrainingError, UserError
from ..jobs.execution import Execution
from ..jobs.kinds import registry
from ..jobs.launcher import Running
from ..jobs.perform import is_full, patiently
from ..library.job import Claim, Job
from ..library.queue import LeaseLost, Queue
from ..training import lock
from . import parcels
from .connection import Cluster, Share
from .node import Node
from .outbox import Name
from .parcels import Digests
from .roots import Root, obstacle, of_job, replaced

Files = Literal["auto", "shared", "copied"]
_POLL_SECONDS = 0.3
_ANSWER_SECONDS = 300.0
_UNREACHABLE_SECONDS = 90.0
_MARKER = "shared-with-nodes.txt"


def may_start(job: Job) -> str:
    """Why a job cannot run on a cluster, as a sentence; empty where it can."""
    return obstacle(registry.by_name(job.kind))


class NodeLost(Exception):
    """The actor does not answer any more; ``crashed``: though its node does."""

    def __init__(self, reason: str, crashed: bool) -> None:
        super().__init__(reason)
        self.crashed = crashed


class RayLauncher:
    """An actor for each job, placed by Ray where there is room for it."""

    def __init__(
        self,
        queue: Queue,
        data_dir: Path,
        cluster: Cluster,
        share: Share,
        *,
        files: Files = "auto",
        node_bytes: float = 100e9,
    ) -> None:
        """Create a launcher.

        Args:
            queue: of the library in ``data_dir``.
            data_dir: the data folder.
            cluster: where jobs run.
            share: what a job gets of a node.
            files: ``shared``: all paths are the same on all nodes; ``copied``: what a job reads is sent to its node,
                what it writes comes back; ``auto``: shared where the node sees the data folder and all the job reads.
            node_bytes: how much a node keeps between jobs of what it was sent and of cached latents.
        """
        self.queue = queue
        self.data_dir = data_dir.absolute()
        self.cluster = cluster
        self.share = share
        self.files = files
        self.node_bytes = node_bytes
        self.digests = Digests()
        #: one job at a time sends a file to a node
        self.sending: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.actors = cluster.ray.remote(Node)
        self.marker = secrets.token_hex(16)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / _MARKER).write_text(self.marker, encoding="utf-8")

    @property
    def marker_path(self) -> Path:
        """A file by which a node knows whether it sees the data folder."""
        return self.data_dir / _MARKER

    def start(self, claim: Claim) -> Running:
        """See :meth:`Launcher.start`."""
        return _RemoteJob(self, claim)


class _RemoteJob:
    """A job on a node, followed by a thread of the worker."""

    def __init__(self, launcher: RayLauncher, claim: Claim) -> None:
        self._launcher = launcher
        self._ray = launcher.cluster.ray
        self._queue = launcher.queue
        self._claim = claim
        self._kind = registry.by_name(claim.job.kind)
        self._execution = Execution(launcher.queue, claim, launcher.data_dir)
        share = launcher.share.of(claim.job, self._kind.lane == "device")
        self._actor = launcher.actors.options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        ).remote()
        self._node = _Whereabouts("", "", Path())
        self._death = ""
        self._thread = threading.Thread(target=self._work, name=f"job {claim.job.name}", daemon=True)
        self._thread.start()

    def death(self) -> str | None:
        """See :meth:`Running.death`."""
        return None if self._thread.is_alive() else self._death

    def give_back(self) -> None:
        """See :meth:`Running.give_back`."""
        self._execution.give_back()

    def kill(self) -> None:
        """See :meth:`Running.kill`."""
        self._ray.kill(self._actor, no_restart=True)

    def _work(self) -> None:
        """Follow the job to its end, and record that."""
        claim, queue = self._claim, self._queue
        try:
            with self._execution:
                self._run()
        except LeaseLost:
            return
        except NodeLost as error:
            reason = str(error)
            if error.crashed:
                self._death = reason
            else:
                patiently(lambda: queue.interrupted(claim, reason, 0.0))
        except (UserError, TrainingError) as error:
            text = str(error)
            patiently(lambda: queue.finish(claim, "failed", text))
        except Exception as error:  # noqa: BLE001 - the thread's last words
            self._death = crash.sentence(error, crash.write(self._execution.folder))
            if is_full(error):
                patiently(lambda: queue.interrupted(claim, self._death, 60.0))
        finally:
            with suppress(Exception):
                self.kill()

    def _run(self) -> None:
        if not self._placed():
            return
        job = self._claim.job
        roots, places = of_job(job, self._kind, self._execution.folder)
        shared = self._is_shared(roots)
        with ExitStack() as stack:
            if shared:
                roots, places = roots[:1], {}
            elif job.output_dir:
                stack.enter_context(lock.locked(Path(job.output_dir)))
            inputs = self._send(roots)
            pairs = [(path, str(self._node.work / place)) for path, place in places.items()]
            self._ask("begin", self._order(roots, inputs, pairs, shared))
            self._queue.running(self._claim)
            self._follow(roots)

    def _placed(self) -> bool:
        """Wait until Ray has a node for the job; False where it was asked to stop before."""
        about = self._actor.about.remote()
        while not self._ray.wait([about], timeout=_POLL_SECONDS)[0]:
            if self._execution.should_stop():
                self._end_unplaced()
                return False
        facts = self._ask("about")
        self._node = _Whereabouts(facts["node"], facts["host"], Path(facts["work"]))
        if facts["version"] != __version__:
            raise UserError(
                f"{facts['host']}: LoRA Trainer is version {facts['version']} there and {__version__} here; install "
                "the same version on all nodes."
            )
        self._execution.report({"event": "placed", "node": facts["host"], "node_id": facts["node"]})
        return True

    def _end_unplaced(self) -> None:
        if self._execution.request == "requeue":
            self._queue.requeue(self._claim, "Its worker was stopped before a node was free.")
        elif self._execution.request:
            self._queue.finish(self._claim, "stopped", "Stopped before a node was free; retry the job to start it.")

    def _is_shared(self, roots: list[Root]) -> bool:
        """Whether the job's node has its files at the same paths."""
        if self._launcher.files != "auto":
            return self._launcher.files == "shared"
        sizes: dict[str, int] = {}
        for root in roots:
            folder = Path(root.folder)
            if root.only:
                sizes |= {str(folder / name): (folder / name).stat().st_size for name in root.listed()}
            elif folder.is_dir():
                sizes[root.folder] = -1
        marker = self._launcher.marker_path
        return bool(self._ask("sees", str(marker), self._launcher.marker, sizes))

    def _send(self, roots: list[Root]) -> list[list[list[Any]]]:
        """Send to the node what it has not; returns the files of each root, see :meth:`Node.begin`.

        Raises:
            UserError: a file was changed meanwhile.
        """
        inputs, paths = parcels.inputs(roots, self._launcher.digests)
        with self._launcher.sending[self._node.id]:
            absent = self._ask("missing", list(paths))
            for part in parcels.parts({digest: paths[digest] for digest in absent}):
                self._execution.require_lease()
                # A part is in the object store for as long as it is on its way.
                self._ask("store", self._ray.put(part))
            changed = self._ask("missing", absent) if absent else []
        if changed:
            raise UserError(f"{paths[changed[0]]}: this file was changed while it was sent to a node; retry the job.")
        return inputs

    def _order(
        self, roots: list[Root], inputs: list[list[list[Any]]], pairs: list[tuple[str, str]], shared: bool
    ) -> dict[str, Any]:
        """See :meth:`Node.begin`; ``pairs`` are paths here and on the node."""
        launcher, claim = self._launcher, self._claim
        key = "" if shared else self._kind.caches
        # One cache for each folder of images, so that the oldest can be deleted.
        cache = hashlib.sha256(str(claim.job.config.get("train_data_dir")).encode()).hexdigest()[:16]
        job = asdict(claim.job) | {
            "config": _on_node(claim.job, dict(pairs)),
            "output_dir": dict(pairs).get(claim.job.output_dir, claim.job.output_dir),
        }
        return {
            "job": job,
            "fence": claim.fence,
            "lane": claim.lane,
            "roots": [asdict(root) for root in roots],
            "inputs": inputs,
            "shared": shared,
            "data_dir": str(launcher.data_dir) if shared else "",
            "caches": [key, cache] if key else [],
            "most_bytes": launcher.node_bytes,
        }

    def _follow(self, roots: list[Root]) -> None:
        """Take over what comes from the node until the job has ended there, and record its end."""
        execution = self._execution
        here = [(str(root.on_node(self._node.work)), root.folder) for root in roots]
        events = output = fetched = 0
        with files.appending(execution.folder / "output.log") as log:
            while True:
                news = self._ask("news", execution.request, self._holds(), events, output, fetched)
                log.write(news["output"])
                log.flush()
                output += len(news["output"])
                if news["delivery"]:
                    fetched = self._fetch(news["delivery"], roots)
                for event in news["events"]:
                    execution.report(replaced(event, here))
                events += len(news["events"])
                if news["died"]:
                    raise NodeLost(f"Its process on {self._node.host} failed: {news['died']}.", crashed=True)
                if news["end"] and not news["output"] and not news["events"]:
                    self._record(replaced(news["end"], here))
                    with suppress(NodeLost):
                        self._ask("close")
                    return
                if not news["delivery"] and not news["end"]:
                    time.sleep(_POLL_SECONDS)

    def _holds(self) -> bool:
        self._execution.require_lease()
        return True

    def _fetch(self, delivery: dict[str, Any], roots: list[Root]) -> int:
        """Fetch what has changed on the node; returns the delivery's number."""

        def read(name: Name, offset: int, count: int) -> bytes:
            content: bytes = self._ask("read", delivery["number"], *name, offset, count)
            return content

        self._execution.require_lease()
        parcels.unpack(delivery, roots, read)
        return int(delivery["number"])

    def _record(self, end: dict[str, Any]) -> None:
        claim, queue = self._claim, self._queue
        if end["how"] == "finish":
            patiently(lambda: queue.finish(claim, end["state"], end["reason"], end["result"]))
        elif end["how"] == "requeue":
            patiently(lambda: queue.requeue(claim, end["reason"], end["pause"]))
        else:
            patiently(lambda: queue.interrupted(claim, end["reason"], end["pause"]))

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the actor. All of them may be called twice: an answer can be lost on its way.

        Raises:
            NodeLost: it does not answer any more.
        """
        errors = self._ray.exceptions
        until = time.monotonic() + _UNREACHABLE_SECONDS
        while True:
            try:
                return self._ray.get(getattr(self._actor, method).remote(*arguments), timeout=_ANSWER_SECONDS)
            except (errors.ActorUnavailableError, errors.GetTimeoutError) as error:
                if time.monotonic() > until:
                    raise self._lost(error) from error
                self._execution.require_lease()
                time.sleep(_POLL_SECONDS)
            except errors.RayActorError as error:
                if "creation task" in str(error):
                    last = (str(error).strip().splitlines() or [""])[-1]
                    raise UserError(
                        f"A node could not start the job ({last}); install the same version of LoRA Trainer there: "
                        "pip install '.[ray]'."
                    ) from error
                raise self._lost(error) from error

    def _lost(self, error: Exception) -> NodeLost:
        host = self._node.host or "a node"
        if self._node.id and not self._launcher.cluster.is_alive(self._node.id):
            return NodeLost(f"The node {host} is gone; its job continues from the last state.", crashed=False)
        first = (str(error).splitlines() or [""])[0]
        return NodeLost(f"Its process on {host} ended ({first}).", crashed=True)


class _Whereabouts:
    """The node of a job: its id in Ray, its host name, the job's working folder there."""

    def __init__(self, id: str, host: str, work: Path) -> None:
        self.id = id
        self.host = host
        self.work = work


def _on_node(job: Job, places: dict[str, str]) -> dict[str, Any]:
    """The config with the node's paths. Ray gives the job its GPU as the only one it sees."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(one) for one in value]
        return places.get(value, value) if isinstance(value, str) else value

    config = {key: moved(value) for key, value in job.config.items()}
    if str(config.get("device", "")).startswith("cuda:"):
        config["device"] = "cuda"
    return config
