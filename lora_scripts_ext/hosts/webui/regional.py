"""Regions with prompts and LoRAs of their own, drawn by a WebUI's own txt2img and img2img.

Importable only inside a WebUI.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from modules import extra_networks, prompt_parser
from torch import Tensor, nn

from ...adapters.applied import unet_part
from ...adapters.regional import Regional
from ...contract import DrawRequest, FamilyName, WeightedLora
from ...errors import UserError
from ...models.targets import original_unet_targets
from .. import regions
from . import shared_state

# Layers would be given tokens that are no cells of the image.
_WHOLE_GRID = {"token_merging_ratio": 0.0, "token_merging_ratio_img2img": 0.0, "hypertile_enable_unet": False}

#: LoRAs with their entries in the WebUI's list
Listing = Sequence[tuple[Any, WeightedLora]]


@dataclass(frozen=True)
class Target:
    """The WebUI's UNet: the original modules, and where and in what it computes."""

    unet: nn.Module
    family: FamilyName
    device: torch.device
    dtype: torch.dtype


@contextmanager
def placed(job: Any, request: DrawRequest, loras: Sequence[Listing], target: Target, factor: int) -> Iterator[None]:
    """``job``, the request's, draws its regions, each with its prompt and ``loras``; the UNet is as before afterwards.
    ``factor``: pixels of the request a latent cell.

    Text encoders use a region's LoRAs for its prompts as the WebUI itself merges them; the UNet's part of them is
    never merged.

    Raises:
        UserError: a LoRA cannot be read, or does not fit the base model.
    """
    targets = list(original_unet_targets(target.unet, target.family))
    adapters = []
    for listing in loras:
        parts = [unet_part(lora.file, lora.weight, targets, target.device, target.dtype) for _, lora in listing]
        adapters.append([part for part in parts if part is not None])
    texts = list(zip(regions.prompts(request), loras, strict=True))
    job.setup_conds = _setup(job, job.setup_conds, texts)
    masks = regions.masks(request, factor).to(target.device)
    with shared_state.settings_changed(**_WHOLE_GRID), Regional(target.unet, adapters, masks).attached():
        yield


def _setup(job: Any, original: Callable[[], None], texts: Sequence[tuple[str, Listing]]) -> Callable[[], None]:
    """The job's ``setup_conds``: what its own gives for each region, side by side."""

    def setup_conds() -> None:
        prompts, data = job.prompts, job.extra_network_data
        conds, unconds = [], []
        try:
            for prompt, listing in texts:
                tags = [_tag(entry.name, lora.weight) for entry, lora in listing]
                job.extra_network_data = {**data, "lora": [*data.get("lora", []), *tags]}
                job.prompts = [prompt] * len(prompts)
                extra_networks.activate(job, job.extra_network_data)
                original()
                conds.append([_one(composed) for composed in job.c.batch])
                unconds.append(job.uc)
        finally:
            job.prompts, job.extra_network_data = prompts, data
            extra_networks.activate(job, data)
        # All of a length, or the WebUI would lengthen some of them in its own way.
        everything = [*conds, *(uncond for uncond in unconds if uncond is not None)]
        tokens = math.lcm(
            *{len(_context(part.cond)) for image in everything for schedule in image for part in schedule}
        )
        together = [_together(schedules, tokens) for schedules in zip(*conds, strict=True)]
        composed = [[prompt_parser.ComposableScheduledPromptConditioning(one)] for one in together]
        job.c = prompt_parser.MulticondLearnedConditioning((len(composed),), composed)
        if job.uc is not None:
            job.uc = [_together(schedules, tokens) for schedules in zip(*unconds, strict=True)]

    return setup_conds


def _tag(name: str, weight: float) -> Any:
    """As ``<lora:name:te=weight:unet=0>`` in a prompt."""
    return extra_networks.ExtraNetworkParams(items=[name, f"te={weight:g}", "unet=0"])


def _one(composed: Sequence[Any]) -> Any:
    """The only prompt's conditionings by step.

    Raises:
        UserError: there are several.
    """
    if len(composed) != 1:
        raise UserError("AND cannot join prompts within a region; write the prompt of each region without it.")
    return composed[0].schedules


def _together(schedules: Sequence[Sequence[Any]], tokens: int) -> list[Any]:
    """The regions' conditionings by step, side by side, for every stretch of steps in which none of them changes."""
    ends = sorted({part.end_at_step for schedule in schedules for part in schedule})
    return [
        prompt_parser.ScheduledPromptConditioning(end, _side_by_side([_at(one, end) for one in schedules], tokens))
        for end in ends
    ]


def _at(schedule: Sequence[Any], step: int) -> Any:
    return next((part.cond for part in schedule if step <= part.end_at_step), schedule[-1].cond)


def _context(cond: Any) -> Tensor:
    return cond["crossattn"] if isinstance(cond, dict) else cond


def _side_by_side(conds: Sequence[Any], tokens: int) -> Any:
    """Of one image, [tokens, width], for SDXL with a vector each; a text that is repeated as a whole means the same."""
    context = torch.cat([one.repeat(tokens // len(one), 1) for one in map(_context, conds)])
    if not isinstance(conds[0], dict):
        return context
    return {**conds[0], "crossattn": context, "vector": torch.cat([cond["vector"] for cond in conds])}
