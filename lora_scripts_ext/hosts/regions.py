"""Regions of an image, as every host takes them from a request."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import DrawRequest
from ..families.family import Family


def lacks(request: DrawRequest, family: Family) -> str:
    """What of the request no host can do in regions, as a sentence; empty where it has none, or all can be done."""
    if not request.regions:
        return ""
    if family.has_flow:
        return (
            f"{family.title} cannot draw regions with LoRAs of their own here; choose a Stable Diffusion 1, 2 or XL "
            "base model."
        )
    if request.control is not None or request.reference is not None:
        return "A control image or reference cannot be used together with regions; leave one of both out."
    return ""


def prompts(request: DrawRequest) -> list[str]:
    """Of each region its own, and behind it what is said of all."""
    return [", ".join(filter(None, (region.prompt, request.prompt))) for region in request.regions]


def masks(request: DrawRequest, factor: int) -> Tensor:
    """The regions' masks on the latent cells of ``factor`` pixels a side, float32 [regions, height, width]; in each
    cell they add up to 1. Where masks overlap, the regions share; greys let one region pass into another."""
    pixels = np.stack([np.asarray(region.mask.convert("L"), np.float32) for region in request.regions])
    sides = request.height // factor, request.width // factor
    cells = F.adaptive_avg_pool2d(torch.from_numpy(pixels)[:, None], sides)[:, 0]
    return cells / cells.sum(0)
