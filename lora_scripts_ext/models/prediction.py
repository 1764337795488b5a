"""Testing what a model predicts, for SD2 checkpoints that do not state it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..contract import Conditioning, PredictionType

_SIDE = 32


def ask_prediction(
    predict: Callable[[Tensor, Tensor, Conditioning], Tensor], empty: Conditioning, channels: int, last: int
) -> PredictionType | None:
    """Give the model pure noise at the ``last`` timestep and measure how much of it comes back.

    There a noisy latent is nearly all noise. A model that predicts epsilon returns its input; one that predicts
    v = sqrt(a) epsilon - sqrt(1 - a) x returns almost none of it, as sqrt(a) is 0.07 (Salimans and Ho 2022,
    arXiv 2202.00512). The WebUI tells the two apart on the same ground.

    Args:
        predict: as ``Session.predict``.
        empty: conditioning of one empty caption.
        channels: of the latents.
        last: the last timestep.

    Returns:
        None where the model returns no numbers.
    """
    noise = torch.randn(1, channels, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0)).to(empty.context.device)
    with torch.no_grad():
        prediction = predict(noise, torch.tensor([last], device=noise.device), empty)
    share = float((prediction * noise).sum() / noise.square().sum())
    if not math.isfinite(share):
        return None
    return "epsilon" if share > 0.5 else "v_prediction"
