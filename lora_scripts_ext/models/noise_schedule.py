"""The noise schedule that a base model was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """Betas of the forward process, by diffusers' terms: ``scaled_linear`` is linear in the square root."""

    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    timesteps: int = 1000
    zero_terminal_snr: bool = False

    def alphas_cumprod(self) -> Tensor:
        """float32 [timesteps] on the CPU; with ``zero_terminal_snr`` the last one is exactly 0."""
        if self.beta_schedule == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64)
        else:
            betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.timesteps, dtype=torch.float64) ** 2
        alphas = torch.cumprod(1 - betas, dim=0)
        return (rescaled(alphas) if self.zero_terminal_snr else alphas).float()


def rescaled(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale so that the last step has no signal left and the first stays as it is.

    Lin et al. 2023, Common Diffusion Noise Schedules and Sample Steps Are Flawed (arXiv 2305.08891), algorithm 1.
    """
    roots = alphas_cumprod.sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
