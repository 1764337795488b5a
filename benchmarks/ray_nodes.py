"""A queue on a Ray cluster of two nodes, one of which is killed in the middle: is anything lost, or done twice?

``python benchmarks/ray_nodes.py [--jobs 20] [--kill-at 8] [--kill-worker-at N] [--replace]``: jobs of the pocket model,
one with a folder that does not exist in the middle. The nodes run on this machine, with a core and a folder of their
own each; every file goes through Ray's object store. When ``--kill-at`` jobs are done, a node is killed with all its
processes; with ``--replace`` another joins. With ``--kill-worker-at`` the worker is killed, too, and another started.
The last line of stdout is one JSON object; the exit code is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Before Ray is imported: loopback only, nothing is sent to anyone, this package on the nodes' path.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_memory_monitor_refresh_ms": "0",
    "RAY_local_fs_capacity_threshold": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
}  # fmt: skip

from benchmarks import kill_queue
from lora_scripts_ext.jobs import event_log
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.queue import Queue

_STORE_BYTES = 100 * 2**20


def main() -> int:
    """Run the queue; returns the exit code."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = kill_queue.write_configs(folder, options)
        kill_queue.run("jobs", "add", *map(str, configs), "--data-dir", str(folder / "data"))
        started = time.monotonic()
        happened = _run(folder, options)
        result = kill_queue.check(folder, options) | happened | {"seconds": round(time.monotonic() - started)}
        result |= _attempts(folder / "data")
        result["ok"] = result["ok"] and result["ends_a_job"] == [1]
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--kill-at", type=int, default=8, help="kill a node when so many jobs are done")
    parser.add_argument("--kill-worker-at", type=int, default=0, help="kill the worker when so many are done; 0: never")
    parser.add_argument("--replace", action="store_true", help="let another node join when one was killed")
    return parser


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Work until the queue is empty; returns what was done to the cluster meanwhile."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": _STORE_BYTES},
    )
    numbers = iter(range(100))

    def join() -> Any:
        own = {"LORA_TRAINER_NODE_DIR": str(folder / f"node{next(numbers)}")}
        return cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES, env_vars=own)

    nodes = [join(), join()]
    queue = Queue(Database(folder / "data"))
    happened: dict[str, Any] = {"node_killed_at": None, "worker_killed_at": None}
    log = (folder / "worker.log").open("ab")
    worker = _worker(cluster.address, folder, log)
    try:
        while worker.poll() is None:
            done = queue.counts().get("done", 0)
            if happened["node_killed_at"] is None and done >= options.kill_at and _trains(queue, folder, nodes[0]):
                happened["node_killed_at"] = done
                cluster.remove_node(nodes[0], allow_graceful=False)
                if options.replace:
                    nodes.append(join())
            if options.kill_worker_at and happened["worker_killed_at"] is None and done >= options.kill_worker_at:
                happened["worker_killed_at"] = done
                worker.kill()
                worker.wait()
                worker = _worker(cluster.address, folder, log)
            time.sleep(0.2)
        happened["worker_exit_code"] = worker.returncode
    finally:
        log.close()
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(30)
        cluster.shutdown()
    return happened


def _trains(queue: Queue, folder: Path, node: Any) -> bool:
    """Whether a job that runs on the node has a state by now: killing it costs some steps, but not all."""
    for job in queue.page(states=["running"]).jobs:
        events = _events(folder / "data", job.id)
        own = [event for event in events if event["attempt"] == job.fence]
        here = any(event["event"] == "placed" and event["node_id"] == node.node_id for event in own)
        if here and any(event["event"] == "state" for event in own):
            return True
    return False


def _worker(address: str, folder: Path, log: Any) -> subprocess.Popen[bytes]:
    command = [
        *kill_queue.COMMAND, "worker", "--ray", address, "--until-empty", "--files", "copied",
        "--data-dir", str(folder / "data"),
    ]  # fmt: skip
    return subprocess.Popen(command, env=kill_queue.ENVIRONMENT, stdout=log, stderr=log)


def _attempts(data_dir: Path) -> dict[str, Any]:
    """How the attempts ended, where those after the first began, and how often a job came to its end."""
    queue = Queue(Database(data_dir))
    outcomes: dict[str, int] = {}
    resumed, ends = [], set()
    for job in queue.page(limit=1000).jobs:
        for attempt in queue.attempts(job.id):
            words = attempt.reason if attempt.outcome == "requeued" else ""
            key = f"{attempt.outcome}: {words}" if words else attempt.outcome
            outcomes[key] = outcomes.get(key, 0) + 1
        events = _events(data_dir, job.id)
        resumed += [event["step"] for event in events if event["event"] == "start" and event["attempt"] > 1]
        if job.state == "done":
            ends.add(sum(event["event"] == "end" for event in events))
    return {"outcomes": outcomes, "resumed_at_steps": resumed, "ends_a_job": sorted(ends)}


def _events(data_dir: Path, job: str) -> list[dict[str, Any]]:
    return [line.event for line in event_log.read(event_log.folder(data_dir, job) / event_log.NAME)]


if __name__ == "__main__":
    sys.exit(main())
