"""The kinds of denoisers, by the names that families use for them."""

from __future__ import annotations

from .denoiser import Denoiser
from .diffusers_unet import UNet

DENOISERS: dict[str, Denoiser] = {"unet": UNet()}
