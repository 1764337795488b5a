"""Files that are something else than a base model: refused with one sentence instead of failing later."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..families.family import Family
from ..families.registry import FAMILIES, readable
from ..models.denoisers import DENOISERS
from ..models.diffusers_unet import UNet
from ..models.safetensors_file import Header, Shape, read_header
from .kinds import kind_of

_TAKE = f"give the checkpoint of a full {readable()} model."
_UNET = "model.diffusion_model."
_TEXTS = ("cond_stage_model.", "conditioner.embedders.")
_PLAIN = "give the plain text-to-image version."
_CHANNELS = {
    5: f"a depth-to-image model (5 input channels); {_PLAIN}",
    8: f"an InstructPix2Pix model (8 input channels); {_PLAIN}",
    9: f"an inpainting model (9 input channels); {_PLAIN}",
}
# What can be trained; others, as for inpainting, have their own.
_PIPELINES = {pipeline for family in FAMILIES for pipeline in family.pipelines}
# How the parts begin where they are saved alone, or by other programs.
_ALONE = (
    (("unet.", "vae.", "text_encoder."), "a diffusers model in one file"),
    (("model.diffusion_model.", "diffusion_model.", "net.", "input_blocks."), "the UNet of a model alone"),
    (("down_blocks.", "unet.down_blocks."), "the UNet of a diffusers model alone"),
    (("first_stage_model.", "encoder.conv_in.", "decoder.conv_in.", "vae."), "a VAE alone"),
    (
        (
            *_TEXTS, "text_model.", "transformer.resblocks.", "encoder.block.", "text_encoder.", "text_encoders.",
            "vision_model.", "visual.", "shared.weight",
        ),
        "a text or image encoder alone",
    ),
)  # fmt: skip
_WORD = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+|\d+")
_DISTILLED = ("lcm", "turbo", "lightning", "dmd", "hyper")
_WHOLE_NUMBERS = {"I8", "U8", "I4", "U4", "F4"}


def require_base_model(path: Path, header: Header) -> None:
    """Refuse a safetensors file that holds no plain text-to-image model with VAE and text encoders.

    Raises:
        UserError: says what it holds instead.
    """
    shapes = header.shapes
    if other := kind_of(shapes):
        raise UserError(f"{path}: this file is {other.what}; {other.instead or _TAKE}")
    kind = next((name for name, one in DENOISERS.items() if f"{_UNET}{one.marker}" in shapes), None)
    if kind is None:
        raise UserError(f"{path}: this file {_what_else(shapes)}; {_TAKE}")
    first = shapes.get(f"{_UNET}input_blocks.0.0.weight", ())
    if len(first) == 4 and first[1] in _CHANNELS:
        raise UserError(f"{path}: this file is {_CHANNELS[first[1]]}")
    if dtypes := {dtype for name, dtype in header.dtypes.items() if name.startswith(_UNET)} & _WHOLE_NUMBERS:
        raise UserError(
            f"{path}: this file is quantised ({', '.join(sorted(dtypes))}); give the version of this model in fp16, "
            "bf16 or fp32."
        )
    missing = " and no ".join(_missing(shapes, next(family for family in FAMILIES if family.denoiser == kind)))
    if missing == "VAE":
        raise UserError(f"{path}: this file has no VAE; give the version of the checkpoint with the VAE baked in.")
    if missing:
        raise UserError(f"{path}: this file has no {missing}; {_TAKE}")


def require_model_folder(path: Path) -> None:
    """Refuse a folder that is no diffusers folder of a model that can be trained.

    Raises:
        UserError: says what is in it instead.
    """
    index = path / "model_index.json"
    pipeline = _json(index).get("_class_name")
    if isinstance(pipeline, str) and pipeline not in _PIPELINES:
        raise UserError(f"{path}: this is a model of diffusers' {pipeline}, which is not supported; {_TAKE}")
    if any((path / denoiser.folder / "config.json").is_file() for denoiser in DENOISERS.values()):
        return
    part = _json(path / "config.json").get("_class_name")
    if isinstance(part, str) and (path.parent / "model_index.json").is_file():
        raise UserError(
            f"{path}: this is one part of a diffusers model ({part}); give the folder above, {path.parent}."
        )
    if (path / "adapter_config.json").is_file():
        raise UserError(f"{path}: this folder holds a LoRA of PEFT, not a base model; {_TAKE}")
    if found := sorted(path.glob("snapshots/*/model_index.json")):
        raise UserError(f"{path}: the model is further down; give the folder {found[-1].parent}.")
    if found := sorted(entry.name for entry in path.glob("*.safetensors")):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise UserError(f"{path}: this is a folder with checkpoints; name the file itself ({found[0]}{more}).")
    raise UserError(
        f"{path}: this is no diffusers folder of a Stable Diffusion model, "
        f"{' or '.join(f'{denoiser.folder}/config.json' for denoiser in DENOISERS.values())} is not in it; "
        "give the folder that holds model_index.json, or a .safetensors checkpoint."
    )


def _json(path: Path) -> Mapping[str, Any]:
    """What a JSON object holds; nothing where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def warnings_on(path: Path, header: Header) -> list[str]:
    """``ModelInfo.warnings`` of a single-file checkpoint."""
    warnings = []
    if word := distilled(path.stem) or distilled(header.metadata.get("modelspec.title", "")):
        warnings.append(
            f"{path}: the name says {word}, a model distilled to a few steps. A LoRA trained on it undoes that and "
            "learns less well; train on the model that it was made from, the LoRA works with both."
        )
    if kinds := {kind for kind in header.dtypes.values() if kind.startswith("F8_E")}:
        warnings.append(
            f"{path}: its weights are stored in 8 bits ({', '.join(sorted(kinds))}), which has made them less exact; "
            "take the fp16 version of this model where there is one."
        )
    return warnings


def warnings_on_file(path: Path) -> tuple[str, ...]:
    """As :func:`warnings_on`, for a checkpoint that a WebUI has loaded; of another format nothing is known."""
    if path.suffix.lower() != ".safetensors":
        return ()
    return tuple(warnings_on(path, read_header(path)))


def distilled(name: str) -> str | None:
    """The word in a model's ``name`` that says it was distilled to a few steps, if there is one."""
    words = [word.lower() for word in _WORD.findall(name)]
    following = [*words[1:], ""]
    # "hyper realistic" is a style.
    found = (
        one for one, after in zip(words, following, strict=False) if one != "hyper" or not after.startswith("real")
    )
    return next((word for word in found if word in _DISTILLED), None)


def _what_else(shapes: Mapping[str, Shape]) -> str:
    """What a file without an original UNet holds, as "is ..." or "holds ..."."""
    if not shapes:
        return "holds no tensors"
    for denoiser in DENOISERS.values():
        if denoiser.marker in shapes:
            return f"is the {denoiser.title} of a {denoiser.name} model alone"
    tops = {name.partition(".")[0] for name in shapes}
    heads, what = _ALONE[0]
    if {"unet", "vae"} <= tops:
        return f"is {what} (its names start with {', '.join(heads)})"
    for heads, what in _ALONE[1:]:
        if any(name.startswith(heads) for name in shapes):
            return f"is {what}"
    return f"holds no Stable Diffusion UNet (its first tensor is {next(iter(shapes))})"


def _missing(shapes: Mapping[str, Shape], family: Family) -> Iterator[str]:
    """What a checkpoint with a denoiser of ``family`` lacks; those with a UNet are told apart here."""
    yield from _missing_texts(shapes) if family.denoiser == UNet.class_name else _missing_components(shapes, family)
    halves = [half for half in ("encoder", "decoder") if not _any(shapes, f"{family.vae_prefix}{half}.")]
    if len(halves) == 2:
        yield "VAE"
    elif halves:
        yield f"{halves[0]} in its VAE"


def _missing_components(shapes: Mapping[str, Shape], family: Family) -> Iterator[str]:
    for layout, name in zip(family.text_encoders, family.component_names, strict=True):
        if not _any(shapes, layout.prefix):
            yield f"text encoder {name}"


def _missing_texts(shapes: Mapping[str, Shape]) -> Iterator[str]:
    xl = f"{_UNET}label_emb.0.0.weight" in shapes
    heads = ("conditioner.embedders.0.", "conditioner.embedders.1.") if xl else _TEXTS
    there = [_any(shapes, head) for head in heads]
    if xl and any(there) and not all(there):
        yield f"{'second' if there[0] else 'first'} text encoder, of the two that SDXL has"
    elif not any(there):
        yield "text encoder"


def _any(shapes: Mapping[str, Shape], head: str) -> bool:
    return any(name.startswith(head) for name in shapes)
