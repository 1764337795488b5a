"""Sampling an image's latents: diffusers' schedulers under the WebUI's names, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
#: the WebUI's names of the samplers that there are
SAMPLERS = tuple(_SAMPLERS)
#: of them, those for a base model that predicts a flow
FLOW_SAMPLERS = ("Euler",)


@dataclass(frozen=True)
class Kept:
    """The image that is inpainted, and which part of it.

    Attributes:
        latents: float32 [1, channels, height, width], of the whole image.
        drawn: float32 [1, 1, height, width], 1 where it is inpainted and 0 where it is kept.
        strength: from 0 to 1, how much of the noise the drawing starts with.
    """

    latents: Tensor
    drawn: Tensor
    strength: float


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
    generators: Sequence[torch.Generator],
    kept: Kept | None = None,
) -> Tensor:
    """Denoise ``noise`` to latents of the same shape, float32 [batch, channels, height, width].

    What is ``kept`` is put back, with the noise of the step, after every step (Lugmayr et al. 2022, arXiv 2201.09865,
    section 4.1, without its resampling).

    Args:
        predict: as ``Session.predict``; timesteps may be fractional.
        scheduler: from ``make_scheduler``.
        noise: unit variance.
        conditioning: of two, the negative prompt first; the same for all images.
        steps: sampling steps of a whole drawing; with ``kept`` its strength says how many are left out.
        cfg_scale: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).
        generators: one for each image, for the samplers that add noise at every step.
        kept: None draws the whole image.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    count = len(noise)
    conditioning = repeated(conditioning, count)
    timesteps, latents = _start(scheduler, noise, kept)
    for index, timestep in enumerate(timesteps):
        pair = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        negative, positive = predict(pair, timestep.expand(2 * count), conditioning).chunk(2)
        guided = negative + cfg_scale * (positive - negative)
        latents = scheduler.step(guided, timestep, latents, generator=list(generators), return_dict=False)[0]
        if kept is not None:
            following = timesteps[index + 1 : index + 2]
            noisy = scheduler.add_noise(kept.latents, noise, following) if len(following) else kept.latents
            latents = torch.lerp(noisy.expand_as(latents), latents, kept.drawn)
    return latents


def repeated(conditioning: Conditioning, times: int) -> Conditioning:
    """Each of its rows ``times`` times, one after the other."""
    context, pooled, time_ids = (
        None if tensor is None else tensor.repeat_interleave(times, dim=0)
        for tensor in (conditioning.context, conditioning.pooled, conditioning.time_ids)
    )
    assert context is not None
    return Conditioning(context, pooled, time_ids)


def _start(scheduler: SchedulerMixin, noise: Tensor, kept: Kept | None) -> tuple[Tensor, Tensor]:
    """The timesteps that are taken, and the latents before the first of them."""
    timesteps = scheduler.timesteps
    steps = len(timesteps)
    left_out = 0 if kept is None else steps - max(1, min(steps, int(steps * kept.strength)))
    # DDIM computes from the timestep alone.
    if kept is not None and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(left_out)
    timesteps = timesteps[left_out:]
    if kept is None or not left_out:
        return timesteps, noise * scheduler.init_noise_sigma
    return timesteps, scheduler.add_noise(kept.latents, noise, timesteps[:1])


def sample_flow(
    predict: Predict,
    name: str,
    noise: Tensor,
    conditioning: Conditioning,
    steps: int,
    shift: float,
    cfg_scale: float | None = None,
) -> Tensor:
    """Follow a flow from ``noise`` to latents, float32 [batch, channels, height, width], by Euler's method.

    Args:
        predict: as ``Session.predict``, with the guidance scale of the image.
        name: of the sampler, by the WebUI's name.
        noise: unit variance.
        conditioning: of the prompt; with ``cfg_scale`` of two, the negative prompt first; the same for all images.
        steps: sampling steps.
        shift: of the timesteps (arXiv 2403.03206, section 5.3.2); 1 spaces them evenly.
        cfg_scale: classifier-free guidance; None where the model takes its guidance as an input.

    Raises:
        UserError: the sampler is none for a flow.
    """
    if name not in FLOW_SAMPLERS:
        raise UserError(f"preview_sampler is {name!r}; a base model that predicts a flow is sampled by Euler.")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), device=noise.device)
    latents, rows = noise, len(conditioning.context)
    conditioning = repeated(conditioning, len(noise))
    for timestep in scheduler.timesteps:
        time = (timestep / scheduler.config.num_train_timesteps).expand(rows * len(noise))
        flow = predict(latents.repeat(rows, 1, 1, 1), time, conditioning)
        if cfg_scale is not None:
            negative, positive = flow.chunk(2)
            flow = negative + cfg_scale * (positive - negative)
        latents = scheduler.step(flow, timestep, latents, return_dict=False)[0]
    return latents
