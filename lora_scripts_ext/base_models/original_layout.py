"""The original layout of a Stable Diffusion checkpoint, as the WebUIs and Civitai have it: to diffusers and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..contract import FamilyName
from ..errors import UserError
from ..families.family import Heads, TextEncoderLayout
from ..families.registry import FAMILIES, by_name, short_titles
from ..models.clip import (
    build_clip,
    build_projected_clip,
    hf_sources,
    hf_to_open_clip,
    open_clip_layers,
    open_clip_sources,
    text_config,
)
from ..models.denoiser import Denoiser
from ..models.denoisers import DENOISERS
from ..models.diffusers_unet import UNet
from ..models.safetensors_file import Shape, read_header
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
    """The family whose denoiser and, where several families share it, text encoders the checkpoint carries.

    Raises:
        ValueError: it carries none of these.
    """
    for family in FAMILIES:
        denoiser = DENOISERS[family.denoiser]
        if denoiser.class_name != UNet.class_name and denoiser_prefix(shapes, denoiser) is not None:
            return family.name
    for family in FAMILIES:
        if any(name.startswith(family.text_encoders[-1].prefix) for name in shapes):
            return family.name
    raise ValueError(f"it carries no text encoder of {short_titles()}")


def denoiser_prefix(shapes: Mapping[str, Shape], denoiser: Denoiser[Any]) -> str | None:
    """How the denoiser's names begin: as in a checkpoint or, where it is saved alone, with nothing; None where there is
    none of this kind."""
    return next((prefix for prefix in (UNET, "") if f"{prefix}{denoiser.marker}" in shapes), None)


@dataclass(frozen=True)
class _Stored:
    """Where a part lies: in a file, under names with a prefix; ``shapes`` are those of the names after it."""

    path: Path
    prefix: str
    shapes: Mapping[str, Shape]

    def part(self, name: str, build: Build, config: Mapping[str, Any], sources: Mapping[str, Source]) -> ModelPart:
        """The part, with ``sources`` named after the prefix."""
        return ModelPart(
            name=name,
            build=build,
            config=config,
            sources={target: replace(source, name=self.prefix + source.name) for target, source in sources.items()},
            shapes={self.prefix + inner: shape for inner, shape in self.shapes.items()},
            files=(self.path,),
        )


def read_parts(
    path: Path,
    shapes: Mapping[str, Shape],
    family: FamilyName,
    yaml: InferenceYaml,
    files: Mapping[str, Path] | None = None,
) -> tuple[ModelPart, ModelPart, tuple[ModelPart, ...]]:
    """Denoiser, VAE and text encoders of a checkpoint.

    Args:
        path: of the checkpoint.
        shapes: of its tensors.
        family: what it is.
        yaml: the configuration beside it.
        files: of parts that are taken from elsewhere: ``vae``, or a text encoder by its component name.

    Raises:
        UserError: one of ``files`` is missing or damaged.
        ValueError, KeyError: tensors are missing or not built as they should be.
    """
    kind, files = by_name(family), files or {}
    denoiser = DENOISERS[kind.denoiser]

    def stored(prefix: str, key: str = "") -> _Stored:
        own_file = files.get(key)
        return _stored(own_file, prefix) if own_file else _Stored(path, prefix, _inside(shapes, prefix))

    texts = []
    for index, (layout, key) in enumerate(zip(kind.text_encoders, kind.component_names, strict=True)):
        with _errors_of(key, files):
            texts.append(_text_part(stored(layout.prefix, key), index, layout, yaml.text_folders[index]))
    component = stored(denoiser_prefix(shapes, denoiser) or "")
    config = denoiser.config(component.shapes, yaml.heads or kind.heads)
    if kind.has_time_ids:
        width = config["projection_class_embeddings_input_dim"] - texts[-1].config["projection_dim"]
        config["addition_time_embed_dim"] = width // 6
    unet = component.part(denoiser.title, denoiser.build, config, denoiser.sources(component.shapes, config))
    with _errors_of("vae", files):
        component = stored(kind.vae_prefix, "vae")
        config = vae_config(component.shapes)
        vae = component.part("VAE", build_vae, config, vae_sources(component.shapes, config))
    return unet, vae, tuple(texts)


@contextmanager
def _errors_of(key: str, files: Mapping[str, Path]) -> Iterator[None]:
    """Errors of a part that has a file of its own name that file and its ``key``."""
    try:
        yield
    except (ValueError, KeyError, IndexError) as error:
        if key not in files:
            raise
        raise UserError(f"{key} {files[key]}: this file is not what {key} needs: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """What is wrong with a file whose tensors were read, after an error of :func:`read_parts`."""
    return f"the tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _stored(path: Path, prefix: str) -> _Stored:
    """A part in a file of its own, where its names may have the ``prefix`` that they have in a checkpoint."""
    shapes = read_header(path).shapes
    prefix = next((one for one in (prefix, VAE) if any(name.startswith(one) for name in shapes)), "")
    return _Stored(path, prefix, _inside(shapes, prefix))


def _text_part(component: _Stored, index: int, layout: TextEncoderLayout, folder: Path | None) -> ModelPart:
    inside = component.shapes
    name = f"text encoder {index + 1}"
    if layout.t5:
        return component.part(name, build_t5, t5_config(inside), t5_sources(inside))
    if layout.open_clip:
        layers = open_clip_layers(inside) - layout.unused_layers
        sources = open_clip_sources(inside, layers, layout.projection)
    else:
        sources = hf_sources(inside)
    shapes = {name: tuple(source.take(_meta(inside[source.name])).shape) for name, source in sources.items()}
    config = text_config(shapes, "gelu" if layout.open_clip else "quick_gelu", _config_in(folder))
    return component.part(name, build_projected_clip if layout.projection else build_clip, config, sources)


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
