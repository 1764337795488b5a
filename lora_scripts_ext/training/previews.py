"""Pictures of how far the run has come: fixed prompts and seeds, the generation parameters inside the PNG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from .. import files
from ..config import Config
from ..contract import ModelInfo, PreviewRequest, Session
from ..families.registry import by_name

_PROMPTS_FROM_CAPTIONS = 2
# What the WebUIs offer for a new picture.


def prompts(config: Config, captions: list[str]) -> list[str]:
    """The user's prompts, or the first different captions of the set."""
    distinct = list(dict.fromkeys(caption for caption in captions if caption))
    return config.preview_prompts or distinct[:_PROMPTS_FROM_CAPTIONS] or [""]


def requests(config: Config, model: ModelInfo, captions: list[str]) -> list[PreviewRequest]:
    """One request a prompt; seeds count up from ``preview_seed``."""
    width, height = config.sides(model.resolution)
    return [
        PreviewRequest(
            prompt=prompt,
            negative=config.preview_negative,
            seed=config.preview_seed + index,
            width=width,
            height=height,
            steps=config.preview_steps,
            cfg_scale=config.preview_cfg_scale or by_name(model.family).cfg_scale,
            sampler=config.preview_sampler,
        )
        for index, prompt in enumerate(prompts(config, captions))
    ]


def draw(
    session: Session, config: Config, wanted: list[PreviewRequest], epoch: int, lora: Path | None
) -> Iterator[Path]:
    """Draw every request with the model as it is now; yield ``output_dir/previews/NAME-eXXXX-NN.png`` as written.

    With ``save_captions: false`` the prompts, which may be captions, stay out of the PNG.

    lora: the adapter as a file, for a session that draws from files.
    """
    for index, request in enumerate(wanted):
        picture = session.preview(request, lora)
        path = Path(config.output_dir) / "previews" / f"{config.name}-e{epoch:04d}-{index:02d}.png"
        shown = request if config.save_captions else replace(request, prompt="", negative="")
        info = PngInfo()
        info.add_text("parameters", parameters(shown, session.model, f"<lora:{config.name}:1>" if epoch else ""))
        with files.replacing(path) as temporary:
            picture.save(temporary, format="PNG", pnginfo=info)
        yield path


def parameters(request: PreviewRequest, model: ModelInfo, lora: str) -> str:
    """The text the WebUI writes into its pictures and reads back under "PNG Info"."""
    lines = [" ".join(filter(None, (request.prompt, lora)))]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    scale = by_name(model.family).scale_text(request.cfg_scale)
    lines.append(
        f"Steps: {request.steps}, Sampler: {request.sampler}, {scale}, Seed: {request.seed}, "
        f"Size: {request.width}x{request.height}, Model hash: {model.hash[:10]}, Model: {model.name}"
    )
    return "\n".join(lines)
