"""The original layout of a Stable Diffusion checkpoint, as the WebUIs and Civitai have it: to diffusers and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..contract import FamilyName
from ..families.family import Heads, TextEncoderLayout
from ..families.registry import FAMILIES, by_name, readable
from ..models.clip import (
    build_clip,
    build_projected_clip,
    hf_sources,
    hf_to_open_clip,
    open_clip_layers,
    open_clip_sources,
    text_config,
)
from ..models.denoisers import DENOISERS
from ..models.safetensors_file import Shape
from ..models.t5 import build_t5, t5_config, t5_sources
from ..models.unet import unet_to_original
from ..models.vae import build_vae, vae_config, vae_sources, vae_to_original
from ..models.weights import Source, take_all
from .inference_yaml import InferenceYaml
from .parts import Build, ModelPart

UNET = "model.diffusion_model."
VAE = "first_stage_model."


def to_diffusers(state: Mapping[str, Tensor], heads: Heads | None = None) -> dict[str, dict[str, Tensor]]:
    """A checkpoint's tensors in the original layout -> state dicts of diffusers' and transformers' models.

    Returns:
        ``unet``, ``vae``, ``te1`` and, for SDXL, ``te2``; views of the given tensors where possible.

    Raises:
        ValueError, KeyError: the tensors are not those of a Stable Diffusion 1, 2 or XL checkpoint.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    unet, vae, texts = read_parts(Path("state dict"), shapes, family_of(shapes), InferenceYaml(heads=heads))
    parts = {"unet": unet, "vae": vae, **dict(zip(("te1", "te2"), texts, strict=False))}
    return {name: take_all(part.sources, state) for name, part in parts.items()}


def to_original(
    unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], texts: Sequence[Mapping[str, Tensor]], family: FamilyName
) -> dict[str, Tensor]:
    """State dicts of diffusers' and transformers' models -> the tensors of a single-file checkpoint.

    The file the WebUIs read: UNet under ``model.diffusion_model.``, VAE under ``first_stage_model.`` with attention
    projections as 1x1 convolutions, SD1's text encoder (and SDXL's first) in transformers' layout, SD2's (and SDXL's
    second) in open_clip's: query, key and value stacked, the projection transposed. SD2's text encoder is given with
    the layers that are used (23 of the real one) and written with one more, a copy that nothing reads.

    Args:
        unet: of ``UNet2DConditionModel``.
        vae: of ``AutoencoderKL``.
        texts: of ``CLIPTextModel`` (and for SDXL's second ``CLIPTextModelWithProjection``).
        family: decides the text encoders' layouts and prefixes.
    """
    original = {f"{UNET}{name}": tensor for name, tensor in unet_to_original(unet).items()}
    original.update({f"{VAE}{name}": tensor for name, tensor in vae_to_original(vae).items()})
    for layout, state in zip(by_name(family).text_encoders, texts, strict=True):
        named = hf_to_open_clip(state, unused_layer=layout.unused_layers > 0) if layout.open_clip else state
        original.update({f"{layout.prefix}{name}": tensor for name, tensor in named.items()})
    return {name: tensor.contiguous() for name, tensor in original.items()}


def family_of(shapes: Mapping[str, Shape]) -> FamilyName:
    """The family whose text encoders the checkpoint carries.

    Raises:
        ValueError: it carries none of these.
    """
    for family in FAMILIES:
        layouts = family.text_encoders
        if layouts and any(name.startswith(layouts[-1].prefix) for name in shapes):
            return family.name
    raise ValueError(f"it carries no text encoder of {readable()}")


def read_parts(
    path: Path, shapes: Mapping[str, Shape], family: FamilyName, yaml: InferenceYaml
) -> tuple[ModelPart, ModelPart, tuple[ModelPart, ...]]:
    """Denoiser, VAE and text encoders of a checkpoint.

    Raises:
        ValueError, KeyError: tensors are missing or not built as they should be.
    """
    kind = by_name(family)
    texts = tuple(
        _text_part(path, shapes, index, layout, yaml.text_folders[index])
        for index, layout in enumerate(kind.text_encoders)
    )
    denoiser = DENOISERS[kind.denoiser]
    inside = _inside(shapes, UNET)
    config = denoiser.config(inside, yaml.heads or kind.heads)
    if kind.has_time_ids:
        width = config["projection_class_embeddings_input_dim"] - texts[-1].config["projection_dim"]
        config["addition_time_embed_dim"] = width // 6
    unet = _part(denoiser.title, denoiser.build, path, inside, UNET, config, denoiser.sources(inside, config))
    inside = _inside(shapes, kind.vae_prefix)
    config = vae_config(inside)
    vae = _part("VAE", build_vae, path, inside, kind.vae_prefix, config, vae_sources(inside, config))
    return unet, vae, texts


def _text_part(
    path: Path, shapes: Mapping[str, Shape], index: int, layout: TextEncoderLayout, folder: Path | None
) -> ModelPart:
    inside = _inside(shapes, layout.prefix)
    name = f"text encoder {index + 1}"
    if layout.t5:
        return _part(name, build_t5, path, inside, layout.prefix, t5_config(inside), t5_sources(inside))
    if layout.open_clip:
        layers = open_clip_layers(inside) - layout.unused_layers
        sources = open_clip_sources(inside, layers, layout.projection)
    else:
        sources = hf_sources(inside)
    wanted = {name: tuple(source.take(_meta(inside[source.name])).shape) for name, source in sources.items()}
    config = text_config(wanted, "gelu" if layout.open_clip else "quick_gelu", _config_in(folder))
    build = build_projected_clip if layout.projection else build_clip
    return _part(name, build, path, inside, layout.prefix, config, sources)


def _part(
    name: str,
    build: Build,
    path: Path,
    inside: Mapping[str, Shape],
    prefix: str,
    config: Mapping[str, Any],
    sources: Mapping[str, Source],
) -> ModelPart:
    """A part whose sources are named relative to ``prefix``, with the file's own names."""
    return ModelPart(
        name=name,
        build=build,
        config=config,
        sources={target: Source(prefix + source.name, source.change) for target, source in sources.items()},
        shapes={prefix + inner: shape for inner, shape in inside.items()},
        files=(path,),
    )


def _inside(shapes: Mapping[str, Shape], prefix: str) -> dict[str, Shape]:
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}


def _config_in(folder: Path | None) -> dict[str, Any]:
    """The text encoder's configuration that a folder holds: a CLIP one, or its text half alone."""
    if folder is None:
        return {}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("text_config") or config


def _meta(shape: Shape) -> Tensor:
    return torch.empty(shape, device="meta")
