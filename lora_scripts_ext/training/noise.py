"""What a step draws at random: latents from their distribution, noise, timesteps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import seeds

_NOISE_STREAM = 1


@dataclass(frozen=True)
class Draw:
    """Random numbers of a micro-batch, on CPU.

    Attributes:
        latent: float32 [batch, channels, height, width], picks a sample from the latent distribution.
        noise: float32, same shape, what the model has to find.
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
    timestep: Callable[[torch.Generator, Sequence[int]], Tensor],
    noise_offset: float,
) -> Draw:
    """Draw for the examples at ``positions`` of the step's effective batch; ``shape`` is one latent's [c, h, w] and
    ``timestep`` draws one for it.

    Each example has its own generator: how the batch is split over micro-batches and processes changes nothing.
    ``noise_offset`` adds one normal number per channel (https://www.crosslabs.org/blog/diffusion-with-offset-noise).
    """
    latents, noises, timesteps = [], [], []
    for position in positions:
        generator = torch.Generator().manual_seed(seeds.derive(seed, _NOISE_STREAM, step, position))
        timesteps.append(timestep(generator, shape))
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
