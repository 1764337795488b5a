"""What the model should have said, and how wrong it was."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contract import PredictionType


def target(prediction_type: PredictionType, latents: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The right answer: the noise, or v = sqrt(a)·noise - sqrt(1 - a)·x_0 (arXiv 2202.00512, appendix D).

    ``alphas_cumprod`` is [batch], at each example's timestep.
    """
    if prediction_type == "epsilon":
        return noise
    signal = alphas_cumprod.view(-1, 1, 1, 1)
    return signal.sqrt() * noise - (1 - signal).sqrt() * latents


def min_snr_weight(prediction_type: PredictionType, alphas_cumprod: Tensor, gamma: float) -> Tensor:
    """min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v (arXiv 2303.09556, section 3.4); [batch]."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1)


def cell_weight(mask: Tensor, unmasked_weight: float, normalize: bool) -> Tensor:
    """How much each latent cell counts, shaped like ``mask`` [batch, 1, h, w] (0 to 1); as OneTrainer defines it.

    max(mask, ``unmasked_weight``); with ``normalize`` divided by its mean over the image, which makes the loss the mean
    over the masked area. All zero where the mask is, for an image of which nothing is to be learnt.
    """
    weight = mask.clamp(min=unmasked_weight)
    if not normalize:
        return weight
    return weight / weight.mean(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)


def per_example(
    prediction: Tensor,
    target: Tensor,
    kind: Literal["l2", "huber"],
    huber_delta: float,
    weight: Tensor | None,
) -> Tensor:
    """Mean loss of each example, float32 [batch]; ``weight`` [batch, 1, h, w] says how much a cell counts."""
    if kind == "l2":
        error = F.mse_loss(prediction, target, reduction="none")
    else:
        error = F.huber_loss(prediction, target, reduction="none", delta=huber_delta)
    if weight is not None:
        error = error * weight
    return error.mean(dim=(1, 2, 3))
