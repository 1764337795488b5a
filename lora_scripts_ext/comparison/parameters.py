"""Generation parameters of an image with regions, as WebUIs write and read them."""

from __future__ import annotations

from collections.abc import Iterable

from ..contract import Drawer, DrawRequest, WeightedLora


def parameters(request: DrawRequest, drawer: Drawer) -> str:
    """Of the request's first seed; the regions' prompts stand one behind the other."""
    texts = [_text(region.prompt, region.loras) for region in request.regions]
    lines = [" | ".join([*texts, *filter(None, [_text(request.prompt, request.loras)])])]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    model = f"Model hash: {drawer.model_hash[:10]}, " if drawer.model_hash else ""
    lines.append(
        f"Steps: {request.steps}, Sampler: {request.sampler}, CFG scale: {request.cfg_scale:g}, "
        f"Seed: {request.seeds[0]}, Size: {request.width}x{request.height}, {model}Model: {drawer.model_name}"
    )
    return "\n".join(lines)


def _text(prompt: str, loras: Iterable[WeightedLora]) -> str:
    return " ".join(filter(None, (prompt, *(f"<lora:{lora.file.stem}:{lora.weight:g}>" for lora in loras))))
