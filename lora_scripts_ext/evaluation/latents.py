"""Images as latents: how far apart they are, and which training image is nearest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..contract import Session
from ..images.bucket import Size


@torch.no_grad()
def encoded(session: Session, images: Sequence[Image.Image], size: Size) -> Tensor:
    """The latents of images resized to ``size`` (pixels), float32 [images, channels, height, width] on the CPU.

    One by one, for the VAE takes more memory than a step of training.
    """
    return torch.cat([session.encode_images(_pixels(image, size)[None]).mean.cpu() for image in images])


def _pixels(image: Image.Image, size: Size) -> Tensor:
    """Float32 [3, height, width] in [-1, 1]."""
    resized = np.array(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    return torch.from_numpy(resized).permute(2, 0, 1) / 127.5 - 1


def distances(some: Tensor, others: Tensor) -> Tensor:
    """Root mean square differences of latents [some, ...] and [others, ...]: float32 [some, others]."""
    numbers = some[0].numel()
    return torch.cdist(some.flatten(1).float(), others.flatten(1).float()) / numbers**0.5


def spread(latents: Tensor) -> float:
    """Median distance of an image to the nearest other one; NaN for a single image."""
    if len(latents) < 2:
        return float("nan")
    return _others(latents).min(1).values.median().item()


def variety(latents: Tensor) -> float:
    """Mean distance of two different images; NaN for a single image."""
    if len(latents) < 2:
        return float("nan")
    return torch.pdist(latents.flatten(1).float()).mean().item() / latents[0].numel() ** 0.5


def _others(latents: Tensor) -> Tensor:
    """Distances to all others; infinite to itself. [images, images]"""
    table = distances(latents, latents)
    table.fill_diagonal_(float("inf"))
    return table
