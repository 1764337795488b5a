"""The kinds of denoisers, by diffusers' names of their classes."""

from __future__ import annotations

from .denoiser import Denoiser
from .diffusers_unet import UNet
from .flux import Flux

DENOISERS: dict[str, Denoiser] = {denoiser.class_name: denoiser for denoiser in (UNet(), Flux())}
