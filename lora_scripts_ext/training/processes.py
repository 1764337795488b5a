"""Distributed training: several processes, as `torchrun` starts them, train one adapter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

# The others wait while the first process encodes the images, which takes hours for large sets.
_TIMEOUT = timedelta(days=1)


@dataclass(frozen=True)
class World:
    """This process's ``rank`` among ``size``."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Add ``tensor`` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in at least one process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag), device=device)
        dist.all_reduce(votes)
        return bool(votes.item())

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined() -> Iterator[World]:
    """The processes that `torchrun` describes in the environment, or this one only."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1)
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
