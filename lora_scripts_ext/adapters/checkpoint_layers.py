"""The layers of a single-file checkpoint that a LoRA can change, by the keys that LoRA files have for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..base_models.original_layout import denoiser_prefix, family_of
from ..contract import Part
from ..errors import UserError
from ..families.family import Family, TextEncoderLayout
from ..families.registry import by_name
from ..models.clip import hf_sources, open_clip_layers, open_clip_sources
from ..models.denoisers import DENOISERS
from ..models.diffusers_unet import UNet
from ..models.layer_names import UNetLayout, flux_key, text_key, unet_key
from ..models.safetensors_file import Header, Shape
from ..models.weights import Source

_PARTS: tuple[Part, ...] = ("te1", "te2")


@dataclass(frozen=True)
class CheckpointLayers:
    """Where in the file the weights lie that a LoRA changes.

    Attributes:
        family: of the checkpoint.
        sources: by kohya key, and by the keys that other programs' names give: a tensor of the file, of which the
            source may take a view.
    """

    family: Family
    sources: dict[str, Source]


def checkpoint_layers(path: Path, header: Header) -> CheckpointLayers:
    """The layers of the checkpoint at ``path``, which may lack a VAE or text encoders.

    Raises:
        UserError: it is none of a known family.
    """
    try:
        family = by_name(family_of(header.shapes))
        sources = _denoiser(header.shapes, family)
        for index, layout in enumerate(family.text_encoders):
            if not layout.t5:
                sources |= _text(header.shapes, family, index, layout)
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{path}: a LoRA cannot be merged into this file ({error}); give a checkpoint in the original layout with "
            "its text encoders."
        ) from error
    return CheckpointLayers(family, sources)


def _denoiser(shapes: Mapping[str, Shape], family: Family) -> dict[str, Source]:
    denoiser = DENOISERS[family.denoiser]
    prefix = denoiser_prefix(shapes, denoiser)
    if prefix is None:
        raise ValueError(f"it holds no {denoiser.title}")
    inside = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    weights = [name.removesuffix(".weight") for name in inside if name.endswith(".weight") and len(inside[name]) > 1]
    if denoiser.class_name != UNet.class_name:
        return {flux_key(path): Source(f"{prefix}{path}.weight") for path in weights}
    config = denoiser.config(inside, family.heads)
    layout = UNetLayout.from_block_types(config["down_block_types"], config["layers_per_block"])
    sources = {}
    for path in weights:
        source = Source(f"{prefix}{path}.weight")
        for key in (
            unet_key(family.name, path, layout), f"lora_unet_{path.replace('.', '_')}",
            f"lora_unet_{layout.to_diffusers(path).replace('.', '_')}",
        ):  # fmt: skip
            sources[key] = source
    return sources


def _text(shapes: Mapping[str, Shape], family: Family, index: int, layout: TextEncoderLayout) -> dict[str, Source]:
    inside = [name[len(layout.prefix) :] for name in shapes if name.startswith(layout.prefix)]
    if layout.open_clip:
        found = open_clip_sources(inside, open_clip_layers(inside) - layout.unused_layers, layout.projection)
    else:
        found = hf_sources(inside)
    sources = {}
    for name, source in found.items():
        path = name.removesuffix(".weight")
        if path != name and ".layers." in path and "norm" not in path:
            own = replace(source, name=layout.prefix + source.name)
            sources[text_key(family.name, _PARTS[index], path)] = own
            sources[f"lora_{_PARTS[index]}_{path.replace('.', '_')}"] = own
    return sources
