"""The Ray cluster that a worker is connected to."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..jobs import lanes
from ..library.job import Job

_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Share:
    """What one job gets of a node.

    Attributes:
        gpus: may be a fraction, where several jobs share a GPU; 0 on a cluster without.
        cpus: cores, and threads of a job on the CPU.
    """

    gpus: float
    cpus: float

    def room(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many jobs fit into nodes with these resources at once."""
        return sum(self._fit(node) for node in nodes)

    def of(self, job: Job, device_lane: bool) -> Share:
        """What this job gets; one that only handles files takes nothing from those that need the device."""
        if not device_lane:
            return Share(0.0, 0.0)
        return Share(0.0, self.cpus) if job.config.get("device") == "cpu" else self

    def _fit(self, node: Mapping[str, float]) -> int:
        wanted = {"GPU": self.gpus, "CPU": self.cpus}
        # Fractions of a GPU add up with rounding.
        counts = [int(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items() if amount]
        return min(counts, default=0)


class Cluster:
    """A connection to a cluster; ``ray`` is the package."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray

    def nodes(self) -> list[dict[str, float]]:
        """The resources of each node that is alive."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def is_alive(self, node: str) -> bool:
        """Whether the node with this id is alive."""
        return any(one["NodeID"] == node and one["Alive"] for one in self.ray.nodes())

    def share(self, gpus: float | None, cpus: float | None) -> Share:
        """What one job gets: what is asked for, else one GPU and one core; without GPUs the smallest node's cores."""
        nodes = self.nodes()
        if gpus is None:
            gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
        if cpus is None:
            cpus = 1.0 if gpus else min((node["CPU"] for node in nodes if node.get("CPU")), default=1.0)
        return Share(gpus, cpus)

    def close(self) -> None:
        """Disconnect; every actor of this worker ends."""
        self.ray.shutdown()


def lane_names(count: int) -> list[str]:
    """The lanes of ``count`` jobs at once, and one beside them for jobs that only handle files."""
    return [*(f"ray {number + 1}" for number in range(count)), f"ray {lanes.FILES}"]


def connect(address: str) -> Cluster:
    """Connect to the cluster at ``address``: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    # Ray reads it when it is imported: nothing is sent to anyone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"--ray needs the package ray, which cannot be imported ({error}); pip install 'lora-trainer[ray]', or "
            "pip install '.[ray]' in a checkout."
        ) from error
    _knock(address)
    try:
        ray.init(address=address, namespace="lora-trainer", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--ray {address}: there is no Ray cluster to connect to ({first}); start one with `ray start --head`, "
            "join this machine to it with `ray start --address=HOST:PORT`, or correct the address."
        ) from error
    return Cluster(ray)


def _knock(address: str) -> None:
    """Ray itself tries for minutes to reach an address where no one is.

    Raises:
        UserError: no one listens there.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--ray {address}: no one answers there ({error}); start a cluster with `ray start --head`, or correct the "
            "address."
        ) from error
