"""When a run has nothing more to gain: by its loss on held-out images."""

from __future__ import annotations

from collections.abc import Sequence

# A loss counts as lower than the lowest so far if it is so by this share of it: less is within what the choice of noise
# and timesteps does to a difference.
LEAST_GAIN = 0.002


def should_stop(losses: Sequence[float], patience: int) -> bool:
    """Whether the loss on held-out images has not fallen for ``patience`` evaluations.

    Args:
        losses: of all evaluations so far, in their order; the first may be that of the model without a LoRA.
        patience: 0 never stops.
    """
    if patience < 1:
        return False
    since, lowest = 0, float("inf")
    for loss in losses:
        # A loss that is not a number is no gain.
        since, lowest = (0, loss) if loss < lowest * (1 - LEAST_GAIN) else (since + 1, lowest)
    return since >= patience
