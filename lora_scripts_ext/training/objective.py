"""What a base model was trained to do with noise: which moment is drawn, what it sees there, what it should say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..contract import ModelInfo
from . import loss, noise

# Flux's schedule (diffusers' ``FluxPipeline``, after arXiv 2403.03206, section 5.3.2): the logarithm of the shift grows
# with the patches of a picture, in a line through these two points.
_FEW_PATCHES, _LITTLE_SHIFT = 256, 0.5
_MANY_PATCHES, _MUCH_SHIFT = 4096, 1.15
_CELLS_PER_PATCH = 4


class Objective(ABC):
    """The forward process and its answer. Timesteps are [batch], in the terms that ``Session.predict`` takes."""

    @abstractmethod
    def timestep(self, generator: torch.Generator, shape: Sequence[int]) -> Tensor:
        """Draw one timestep, a scalar on the CPU, for latents of ``shape`` [channels, height, width]."""

    @abstractmethod
    def noisy(self, latents: Tensor, noises: Tensor, timesteps: Tensor) -> Tensor:
        """What the model sees: float32 [batch, channels, height, width], as the latents and the noises."""

    @abstractmethod
    def answer(self, latents: Tensor, noises: Tensor, timesteps: Tensor) -> Tensor:
        """What the model should say, shaped like the latents."""

    @abstractmethod
    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """float32 [batch]; see ``loss.min_snr_weight``."""


class Diffusion(Objective):
    """Noise is added in steps and the noise, or v, is to be found (arXiv 2006.11239, arXiv 2202.00512)."""

    def __init__(self, model: ModelInfo) -> None:
        self._prediction_type = model.prediction_type
        self._alphas_cumprod = model.alphas_cumprod.to(model.device)

    def timestep(self, generator: torch.Generator, shape: Sequence[int]) -> Tensor:
        """int64, every step as likely as another."""
        return torch.randint(len(self._alphas_cumprod), (), generator=generator)

    def noisy(self, latents: Tensor, noises: Tensor, timesteps: Tensor) -> Tensor:
        """See ``noise.add_noise``."""
        return noise.add_noise(latents, noises, self._alphas_cumprod[timesteps])

    def answer(self, latents: Tensor, noises: Tensor, timesteps: Tensor) -> Tensor:
        """See ``loss.target``."""
        return loss.target(self._prediction_type, latents, noises, self._alphas_cumprod[timesteps])

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """See ``loss.min_snr_weight``."""
        return loss.min_snr_weight(self._prediction_type, self._alphas_cumprod[timesteps], gamma)


class Flow(Objective):
    """Picture and noise are the ends of a line, and its direction is to be found (rectified flow, arXiv 2209.03003)."""

    def __init__(self, model: ModelInfo) -> None:
        self._shifted = model.variant == "dev"

    def timestep(self, generator: torch.Generator, shape: Sequence[int]) -> Tensor:
        """float32 in 0 to 1, where 1 is noise: logit-normal (arXiv 2403.03206, eq. 19), shifted as the model draws."""
        shift = math.exp(flux_mu(shape[1] * shape[2] / _CELLS_PER_PATCH)) if self._shifted else 1.0
        middle = torch.sigmoid(torch.randn((), generator=generator))
        return shift * middle / (1 + (shift - 1) * middle)

    def noisy(self, latents: Tensor, noises: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = (1 - t)·x_0 + t·noise."""
        return torch.lerp(latents, noises, timesteps.view(-1, 1, 1, 1))

    def answer(self, latents: Tensor, noises: Tensor, timesteps: Tensor) -> Tensor:
        """The line's direction, noise - x_0."""
        return noises - latents

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Ones: the paper weighs epsilon and v, and the draw of the moments takes its place here."""
        return torch.ones_like(timesteps)


def of(model: ModelInfo) -> Objective:
    """The objective of a base model."""
    return Flow(model) if model.prediction_type == "flow" else Diffusion(model)


def flux_mu(patches: float) -> float:
    """The logarithm of the shift for pictures of so many patches of 2 x 2 latent cells."""
    slope = (_MUCH_SHIFT - _LITTLE_SHIFT) / (_MANY_PATCHES - _FEW_PATCHES)
    return _LITTLE_SHIFT + slope * (patches - _FEW_PATCHES)
