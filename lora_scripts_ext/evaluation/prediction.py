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


def timestep_at(model: ModelInfo, share: float) -> Tensor:
    """The timestep at this share (0 to 1) of the schedule, a scalar on the CPU; 1 is pure noise."""
    if model.prediction_type == "flow":
        return torch.tensor(share)
    return torch.tensor(round(share * (len(model.alphas_cumprod) - 1)))


def levels(model: ModelInfo, timestep: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of image and noise in x_t: sqrt(a) and sqrt(1 - a) (arXiv 2006.11239, eq. 4), of a flow 1 - t and t."""
    if model.prediction_type == "flow":
        return 1 - timestep, timestep
    signal = model.alphas_cumprod[timestep]
    return signal.sqrt(), (1 - signal).sqrt()


def finished(model: ModelInfo, noisy: Tensor, timestep: Tensor, prediction: Tensor) -> Tensor:
    """x_0 as the prediction has it.

    Of epsilon (x_t - sqrt(1 - a)·epsilon) / sqrt(a) (arXiv 2006.11239, eq. 15), of v sqrt(a)·x_t - sqrt(1 - a)·v (arXiv
    2202.00512, appendix D), of a flow x_t - t·v.
    """
    image, noise = levels(model, timestep)
    if model.prediction_type == "flow":
        return noisy - noise * prediction
    if model.prediction_type == "v_prediction":
        return image * noisy - noise * prediction
    return (noisy - noise * prediction) / image


def part(conditioning: Conditioning, start: int | None, end: int | None) -> Conditioning:
    """Conditioning of the captions from ``start`` to ``end``."""
    rows, pooled, time_ids = slice(start, end), conditioning.pooled, conditioning.time_ids
    return Conditioning(
        conditioning.context[rows],
        None if pooled is None else pooled[rows],
        None if time_ids is None else time_ids[rows],
    )


def split(conditioning: Conditioning, size: int) -> Iterator[Conditioning]:
    """Conditioning of at most ``size`` captions at a time."""
    for start in range(0, len(conditioning.context), size):
        yield part(conditioning, start, start + size)


def repeated(conditioning: Conditioning, count: int) -> Conditioning:
    """Conditioning of one row as that of ``count`` rows."""
    pooled, time_ids = conditioning.pooled, conditioning.time_ids
    return Conditioning(
        conditioning.context.expand(count, *conditioning.context.shape[1:]),
        None if pooled is None else pooled.expand(count, *pooled.shape[1:]),
        None if time_ids is None else time_ids.expand(count, *time_ids.shape[1:]),
    )
