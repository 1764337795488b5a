"""The kinds of denoisers, by diffusers' names of their classes."""

from __future__ import annotations

from typing import Any

from .chroma import Chroma
from .denoiser import Denoiser
from .diffusers_unet import UNet
from .flux import Flux

DENOISERS: dict[str, Denoiser[Any]] = {denoiser.class_name: denoiser for denoiser in (UNet(), Chroma(), Flux())}
