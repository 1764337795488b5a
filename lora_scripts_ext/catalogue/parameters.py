"""Generation parameters as WebUIs write them into images and read them back."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract import DrawRequest
from .loras import Lora


def parameters(request: DrawRequest, loras: Sequence[Lora], model: str, model_hash: str) -> str:
    """Of one image: the first seed of the request counts."""
    names = (f"<lora:{one.file.stem}:{one.weight:g}>" for one in loras)
    lines = [" ".join(filter(None, (request.prompt, *names)))]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    said = [
        f"Steps: {request.steps}", f"Sampler: {request.sampler}", f"CFG scale: {request.cfg_scale:g}",
        f"Seed: {request.seeds[0]}", f"Size: {request.width}x{request.height}",
    ]  # fmt: skip
    said += [f"Model hash: {model_hash[:10]}"] if model_hash else []
    if request.inpainting is not None:
        said.append(f"Denoising strength: {request.inpainting.denoising_strength:g}")
    lines.append(", ".join([*said, f"Model: {model}"]))
    return "\n".join(lines)
