"""Sampling an image's latents: diffusers' schedulers under the WebUI's names, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)
from torch import Tensor

from ...contract import Conditioning, PredictionType
from ...errors import UserError
from ...models.noise_schedule import Schedule

Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]

_SAMPLERS: dict[str, tuple[type[SchedulerMixin], dict[str, Any]]] = {
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "DDIM": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, {}),
    "DPM++ 2M Karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
}
_LEADING = ("DDIM",)


def make_scheduler(name: str, schedule: Schedule, prediction_type: PredictionType) -> SchedulerMixin:
    """The diffusers scheduler for the WebUI's sampler ``name`` on the base model's noise schedule.

    Timesteps are spaced as the WebUI spaces them; with zero terminal SNR they start at the very last step, the only
    one without signal (Lin et al. 2023, arXiv 2305.08891, section 3.3).

    Raises:
        UserError: no such sampler.
    """
    if name not in _SAMPLERS:
        raise UserError(f"preview_sampler is {name!r}; valid: {', '.join(_SAMPLERS)}.")
    kind, options = _SAMPLERS[name]
    spacing: dict[str, str | int]
    if schedule.zero_terminal_snr:
        spacing = {"timestep_spacing": "trailing"}
    elif name in _LEADING:
        spacing = {"timestep_spacing": "leading", "steps_offset": 1}
    else:
        spacing = {"timestep_spacing": "linspace"}
    return kind(
        num_train_timesteps=schedule.timesteps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule=schedule.beta_schedule,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
        **spacing,
        **options,
    )


def sample(
    predict: Predict,
    scheduler: SchedulerMixin,
    noise: Tensor,
    conditioning: Conditioning,
    steps: int,
    cfg_scale: float,
    generator: torch.Generator,
) -> Tensor:
    """Denoise ``noise`` to latents of the same shape, float32 [1, channels, height, width].

    Args:
        predict: as ``Session.predict``; timesteps may be fractional.
        scheduler: from ``make_scheduler``.
        noise: unit variance.
        conditioning: of two, the negative prompt first.
        steps: sampling steps.
        cfg_scale: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).
        generator: for the samplers that add noise at every step.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        pair = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        negative, positive = predict(pair, timestep.expand(2), conditioning).chunk(2)
        guided = negative + cfg_scale * (positive - negative)
        latents = scheduler.step(guided, timestep, latents, generator=generator, return_dict=False)[0]
    return latents


def sample_flow(
    predict: Predict,
    name: str,
    noise: Tensor,
    conditioning: Conditioning,
    steps: int,
    shift: float,
    cfg_scale: float | None = None,
) -> Tensor:
    """Follow a flow from ``noise`` to latents, float32 [1, channels, height, width], by Euler's method.

    Args:
        predict: as ``Session.predict``, with the guidance scale of the image.
        name: of the sampler, by the WebUI's name.
        noise: unit variance.
        conditioning: of the prompt; with ``cfg_scale`` of two, the negative prompt first.
        steps: sampling steps.
        shift: of the timesteps (arXiv 2403.03206, section 5.3.2); 1 spaces them evenly.
        cfg_scale: classifier-free guidance; None where the model takes its guidance as an input.

    Raises:
        UserError: the sampler is none for a flow.
    """
    if name != "Euler":
        raise UserError(f"preview_sampler is {name!r}; a base model that predicts a flow is sampled by Euler.")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), device=noise.device)
    latents = noise
    for timestep in scheduler.timesteps:
        count = len(conditioning.context)
        time = (timestep / scheduler.config.num_train_timesteps).expand(count)
        flow = predict(latents.expand(count, -1, -1, -1), time, conditioning)
        if cfg_scale is not None:
            negative, positive = flow.chunk(2)
            flow = negative + cfg_scale * (positive - negative)
        latents = scheduler.step(flow, timestep, latents, return_dict=False)[0]
    return latents
