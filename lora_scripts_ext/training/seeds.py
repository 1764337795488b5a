"""Randomness as a function of (seed, step, ...), so that a resumed run and another host draw the very same numbers."""

from __future__ import annotations

import numpy as np


def derive(seed: int, *place: int) -> int:
    """A 63-bit seed for one place in the run; places differ in at least one number, so do their streams."""
    state = np.random.SeedSequence((seed, *place)).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
