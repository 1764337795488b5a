"""All randomness of a run, each as a function of a key: a run can be repeated, resumed and split up exactly.

What concerns an image, a caption or an epoch on the CPU draws from :func:`generator`, keyed by words. What a training
step draws for an example takes its seed from :func:`derive`, keyed by numbers: a stream, the step, the position in the
effective batch. The starting weights are seeded by layer (``adapters.adapter``).
"""

from __future__ import annotations

import hashlib

import numpy as np

# The first number of a key for ``derive``.
NOISE, DROPOUT, HELD_OUT, EVALUATION, CANDIDATE = 1, 2, 3, 4, 5


def generator(*key: int | str) -> np.random.Generator:
    """The generator that belongs to ``key``: the same on every machine, in every process, in any order of calls."""
    text = "\x1f".join(map(str, key)).encode("utf-8", "surrogatepass")
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:16], "little"))


def derive(seed: int, *key: int) -> int:
    """A 63-bit seed for ``torch.Generator``; keys differ in at least one number, so do their streams."""
    state = np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
