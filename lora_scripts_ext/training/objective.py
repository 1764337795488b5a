"""The training objective: which timestep and noise are drawn, what the model is to predict, how its error counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contract import ModelInfo, PredictionType
from ..families.registry import by_name
from ..random_streams import NOISE, derive


class Objective(ABC):
    """The forward process and its target. Timesteps are [batch], in the terms that ``Session.predict`` takes; latents,
    noise and results float32 [batch, channels, height, width]."""

    @abstractmethod
    def sample_timestep(self, generator: torch.Generator, shape: Sequence[int]) -> Tensor:
        """Draw one timestep, a scalar on the CPU, for latents of ``shape`` [channels, height, width]."""

    @abstractmethod
    def timestep_at(self, share: float, shape: Sequence[int]) -> Tensor:
        """The timestep below which ``share`` (0 to 1, exclusive) of those lie that :meth:`sample_timestep` draws, a
        scalar on the CPU: the quantile."""

    @abstractmethod
    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The model's input, x_t."""

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model is to predict."""

    @abstractmethod
    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """The weight of each example's loss, float32 [batch]."""


class Diffusion(Objective):
    """Noise is added in steps and the noise, or v, is predicted (arXiv 2006.11239, arXiv 2202.00512)."""

    def __init__(self, model: ModelInfo) -> None:
        self._prediction_type = model.prediction_type
        self._alphas_cumprod = model.alphas_cumprod.to(model.device)

    def sample_timestep(self, generator: torch.Generator, shape: Sequence[int]) -> Tensor:
        """int64, uniform over the schedule."""
        return torch.randint(len(self._alphas_cumprod), (), generator=generator)

    def timestep_at(self, share: float, shape: Sequence[int]) -> Tensor:
        """int64, see :meth:`Objective.timestep_at`."""
        return torch.tensor(int(share * len(self._alphas_cumprod)))

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """See :func:`add_noise`."""
        return add_noise(latents, noise, self._alphas_cumprod[timesteps])

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """See :func:`diffusion_target`."""
        return diffusion_target(self._prediction_type, latents, noise, self._alphas_cumprod[timesteps])

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """See :func:`min_snr_weight`."""
        return min_snr_weight(self._prediction_type, self._alphas_cumprod[timesteps], gamma)


class Flow(Objective):
    """Image and noise are the ends of a line, whose direction is predicted (rectified flow, arXiv 2209.03003)."""

    def __init__(self, model: ModelInfo) -> None:
        self._family = by_name(model.family)
        self._variant = model.variant

    def sample_timestep(self, generator: torch.Generator, shape: Sequence[int]) -> Tensor:
        """float32 in 0 to 1, where 1 is noise: logit-normal (arXiv 2403.03206, eq. 19), shifted as for sampling."""
        return self._shifted(torch.sigmoid(torch.randn((), generator=generator)), shape)

    def timestep_at(self, share: float, shape: Sequence[int]) -> Tensor:
        """float32, see :meth:`Objective.timestep_at`."""
        return self._shifted(torch.sigmoid(torch.special.ndtri(torch.tensor(share))), shape)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = (1 - t)·x_0 + t·noise."""
        return torch.lerp(latents, noise, timesteps.view(-1, 1, 1, 1))

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The line's direction, noise - x_0."""
        return noise - latents

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Ones: the paper weights epsilon and v; for a flow the distribution of the timesteps does that."""
        return torch.ones_like(timesteps)

    def _shifted(self, unshifted: Tensor, shape: Sequence[int]) -> Tensor:
        shift = self._family.timestep_shift(self._variant, shape[1] * shape[2])
        return shift * unshifted / (1 + (shift - 1) * unshifted)


def of(model: ModelInfo) -> Objective:
    """The objective of a base model."""
    return Flow(model) if model.prediction_type == "flow" else Diffusion(model)


@dataclass(frozen=True)
class Draw:
    """Random numbers of a micro-batch, on the CPU.

    Attributes:
        latent: float32 [batch, channels, height, width], picks a sample from the latent distribution.
        noise: float32, same shape, is added to the latents.
        timesteps: [batch], as the objective draws them.
    """

    latent: Tensor
    noise: Tensor
    timesteps: Tensor


def draw(
    seed: int,
    step: int,
    positions: Sequence[int],
    shape: Sequence[int],
    sample_timestep: Callable[[torch.Generator, Sequence[int]], Tensor],
    noise_offset: float,
    stream: int = NOISE,
) -> Draw:
    """Draw for the examples at ``positions`` of the step's effective batch; ``shape`` is one latent's [c, h, w].

    Each example has its own generator: how the batch is split over micro-batches and processes changes nothing.
    ``noise_offset`` adds one normal number per channel (https://www.crosslabs.org/blog/diffusion-with-offset-noise).
    ``stream`` is one of ``random_streams``: those of training and of held-out images have nothing in common.
    """
    latents, noises, timesteps = [], [], []
    for position in positions:
        generator = torch.Generator().manual_seed(derive(seed, stream, step, position))
        timesteps.append(sample_timestep(generator, shape))
        latent, noise = torch.randn((2, *shape), generator=generator).unbind()
        if noise_offset:
            noise = noise + noise_offset * torch.randn((shape[0], 1, 1), generator=generator)
        latents.append(latent)
        noises.append(noise)
    return Draw(torch.stack(latents), torch.stack(noises), torch.stack(timesteps))


def add_noise(latents: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """x_t = sqrt(a)·x_0 + sqrt(1 - a)·noise (DDPM, arXiv 2006.11239, eq. 4); ``alphas_cumprod`` [batch] at each t."""
    signal = alphas_cumprod.view(-1, 1, 1, 1)
    return signal.sqrt() * latents + (1 - signal).sqrt() * noise


def diffusion_target(prediction_type: PredictionType, latents: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The noise, or v = sqrt(a)·noise - sqrt(1 - a)·x_0 (arXiv 2202.00512, appendix D); a: ``alphas_cumprod`` [batch]
    at each example's timestep."""
    if prediction_type == "epsilon":
        return noise
    signal = alphas_cumprod.view(-1, 1, 1, 1)
    return signal.sqrt() * noise - (1 - signal).sqrt() * latents


def min_snr_weight(prediction_type: PredictionType, alphas_cumprod: Tensor, gamma: float) -> Tensor:
    """min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v (arXiv 2303.09556, section 3.4); float32 [batch]."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1)


def mask_weight(mask: Tensor, unmasked_weight: float, normalize: bool) -> Tensor:
    """The weight of each latent cell, shaped like ``mask`` [batch, 1, h, w] (0 to 1); as OneTrainer defines it.

    max(mask, ``unmasked_weight``); with ``normalize`` divided by its mean over the image, which makes the loss the mean
    over the masked area. All zero where the mask is, for an image of which nothing is to be learned.
    """
    weight = mask.clamp(min=unmasked_weight)
    if not normalize:
        return weight
    return weight / weight.mean(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)


def per_example_loss(
    prediction: Tensor, target: Tensor, kind: Literal["l2", "huber"], huber_delta: float, weight: Tensor | None
) -> Tensor:
    """Mean loss of each example, float32 [batch]; ``weight`` [batch, 1, h, w] of each cell, see :func:`mask_weight`."""
    if kind == "l2":
        loss = F.mse_loss(prediction, target, reduction="none")
    else:
        loss = F.huber_loss(prediction, target, reduction="none", delta=huber_delta)
    if weight is not None:
        loss = loss * weight
    return loss.mean(dim=(1, 2, 3))
