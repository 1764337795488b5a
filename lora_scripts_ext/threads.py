"""The number of threads that torch computes with on the CPU.

A sum is split among them, and so rounded by their number: the same step with another number gives other bits. Packages
that share torch's OpenMP may change it; numba, which rembg brings, does so when it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def count() -> int:
    """Threads that torch takes, for what the calling thread computes."""
    return torch.get_num_threads()


@contextmanager
def restored() -> Iterator[None]:
    """On leaving, torch takes as many threads as before."""
    before = count()
    try:
        yield
    finally:
        if count() != before:
            torch.set_num_threads(before)


def take(number: int, processes: int = 1) -> bool:
    """Let torch take ``number`` threads, as ``processes`` do on this machine; False, and no change, where it has fewer
    cores.

    OpenMP's threads spin while they wait: more of them than cores would be many times slower.
    """
    if number == count():
        return True
    if number * processes > (os.cpu_count() or 1):
        return False
    torch.set_num_threads(number)
    return True
