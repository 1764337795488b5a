"""Regions with prompts and LoRAs of their own, on the standalone host's model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch

from ...adapters.applied import from_file
from ...adapters.regional import Regional, side_by_side
from ...contract import Conditioning, DrawRequest
from .. import regions
from .session import StandaloneSession


@contextmanager
def placed(session: StandaloneSession, request: DrawRequest) -> Iterator[Conditioning]:
    """The LoRAs of each region act there, and nowhere else; yields what to draw the request with.

    The text encoders' part of a LoRA acts on its region's prompts.

    Raises:
        UserError: a LoRA cannot be read, or does not fit the base model.
    """
    targets, model = list(session.targets()), session.model
    adapters = [
        [from_file(lora.file, lora.weight, targets, model.device, model.dtype) for lora in region.loras]
        for region in request.regions
    ]
    guidances = []
    for own, prompt in zip(adapters, regions.prompts(request), strict=True):
        with torch.no_grad(), ExitStack() as stack:
            for adapter in own:
                stack.enter_context(adapter.attached())
            guidances.append(session.guidance(replace(request, prompt=prompt)))
    masks = regions.masks(request, model.vae_factor).to(model.device)
    with Regional(session.denoiser, adapters, masks).attached():
        yield side_by_side(guidances)
