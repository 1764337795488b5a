"""The layers of a base model on disk that a LoRA can change, by the keys that LoRA files have for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..base_models.diffusers_folder import read_folder
from ..base_models.kinds import kind_of
from ..base_models.original_layout import denoiser_prefix, family_of
from ..base_models.parts import ModelPart
from ..contract import Part, Target
from ..errors import UserError
from ..families.family import Family, TextEncoderLayout
from ..families.registry import by_name
from ..models.clip import hf_sources, open_clip_layers, open_clip_sources
from ..models.denoisers import DENOISERS
from ..models.diffusers_unet import UNet
from ..models.layer_names import UNetLayout, flux_key, text_key, unet_key
from ..models.safetensors_file import Header, Shape, read_header
from ..models.targets import text_targets
from ..models.weights import Source

_PARTS: tuple[Part, ...] = ("te1", "te2")


@dataclass(frozen=True)
class Place:
    """The weight of a layer, or some of its rows, in a file.

    Attributes:
        source: the tensor, of which it may take a view.
        rows: those of the layer that are here; None where it is here as a whole.
    """

    file: Path
    source: Source
    rows: slice | None = None


@dataclass(frozen=True)
class CheckpointLayers:
    """Where the weights lie that a LoRA changes.

    Attributes:
        family: of the base model.
        places: by kohya key, and by the keys that other programs' names give.
    """

    family: Family
    places: dict[str, list[Place]]


def file_layers(path: Path, header: Header) -> CheckpointLayers:
    """The layers of a single file in the original layout, which may lack a VAE or text encoders.

    Raises:
        UserError: it is none of a known family.
    """
    if other := kind_of(header.shapes):
        raise UserError(f"{path}: this file is {other.what}; give the checkpoint of a base model.")
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
    return CheckpointLayers(family, {key: [Place(path, source)] for key, source in sources.items()})


def folder_layers(path: Path) -> CheckpointLayers:
    """The layers of a diffusers folder.

    Raises:
        UserError: something is missing, damaged, or no text-to-image model that is known.
    """
    checkpoint = read_folder(path)
    family = by_name(checkpoint.family)
    denoiser = DENOISERS[family.denoiser]
    layout = None
    if denoiser.class_name == UNet.class_name:
        config = checkpoint.unet.config
        layout = UNetLayout.from_block_types(config["down_block_types"], config["layers_per_block"])
    places = _places(checkpoint.unet, denoiser.targets(checkpoint.unet.skeleton, family), layout)
    for part, text, stored in zip(_PARTS, checkpoint.texts, family.text_encoders, strict=False):
        if not stored.t5:
            places |= _places(text, text_targets(text.skeleton, family.name, part), None)
    return CheckpointLayers(family, places)


def _places(part: ModelPart, targets: Iterator[Target], layout: UNetLayout | None) -> dict[str, list[Place]]:
    files = {name: file for file in part.files for name in read_header(file).shapes}
    places: dict[str, list[Place]] = {}
    for target in targets:
        source = part.sources[f"{target.path}.weight"]
        found = [Place(files[source.name], source)]
        if source.below:
            ends = [0]
            for name in source.names:
                ends.append(ends[-1] + part.shapes[name][0])
            found = [
                Place(files[name], Source(name), slice(*ends[index : index + 2]))
                for index, name in enumerate(source.names)
            ]
        original = layout.find_original(target.path) if layout else None
        paths = [target.path, *([original] if original else [])]
        keys = [target.key, *(f"lora_{target.part}_{path.replace('.', '_')}" for path in paths)]
        places |= dict.fromkeys(keys, found)
    return places


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
