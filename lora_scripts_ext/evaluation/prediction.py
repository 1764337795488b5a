"""Predictions of many captions, a batch at a time, and what they say of the finished image."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..contract import Conditioning, ModelInfo, Session


def predicted(session: Session, noisy: Tensor, timestep: Tensor, conditioning: Conditioning, size: int) -> Tensor:
    """Float32 [captions, channels, height, width] on the CPU.

    Args:
        session: the model, as it is now.
        noisy: of that shape.
        timestep: a scalar, of all.
        conditioning: of as many captions.
        size: at most so many at a time.
    """
    device, parts = session.model.device, []
    for part, latents in zip(split(conditioning, size), noisy.split(size), strict=True):
        parts.append(session.predict(latents.to(device), timestep.repeat(len(latents)).to(device), part).cpu())
    return torch.cat(parts)


def finished(model: ModelInfo, noisy: Tensor, timestep: Tensor, prediction: Tensor) -> Tensor:
    """x_0 as the prediction has it.

    Of epsilon (x_t - sqrt(1 - a)·epsilon) / sqrt(a) (arXiv 2006.11239, eq. 15), of v sqrt(a)·x_t - sqrt(1 - a)·v (arXiv
    2202.00512, appendix D), of a flow x_t - t·v.
    """
    if model.prediction_type == "flow":
        return noisy - timestep * prediction
    signal = model.alphas_cumprod[timestep]
    if model.prediction_type == "v_prediction":
        return signal.sqrt() * noisy - (1 - signal).sqrt() * prediction
    return (noisy - (1 - signal).sqrt() * prediction) / signal.sqrt()


def split(conditioning: Conditioning, size: int) -> Iterator[Conditioning]:
    """Conditioning of at most ``size`` captions at a time."""
    pooled, time_ids = conditioning.pooled, conditioning.time_ids
    for start in range(0, len(conditioning.context), size):
        rows = slice(start, start + size)
        yield Conditioning(
            conditioning.context[rows],
            None if pooled is None else pooled[rows],
            None if time_ids is None else time_ids[rows],
        )


def repeated(conditioning: Conditioning, count: int) -> Conditioning:
    """Conditioning of one row as that of ``count`` rows."""
    pooled, time_ids = conditioning.pooled, conditioning.time_ids
    return Conditioning(
        conditioning.context.expand(count, *conditioning.context.shape[1:]),
        None if pooled is None else pooled.expand(count, *pooled.shape[1:]),
        None if time_ids is None else time_ids.expand(count, *time_ids.shape[1:]),
    )
