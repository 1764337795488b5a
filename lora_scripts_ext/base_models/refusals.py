"""Files that are something else than a base model: refused with one sentence instead of failing later."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..families.family import Family
from ..families.registry import FAMILIES, short_titles
from ..models.denoiser import Denoiser
from ..models.denoisers import DENOISERS
from ..models.diffusers_unet import UNet
from ..models.safetensors_file import Header, Shape, read_header
from .kinds import kind_of
from .original_layout import UNET, denoiser_prefix

_TAKE = f"give the checkpoint of a full {short_titles()} model."
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
_SINGLE_COMPONENTS: tuple[tuple[tuple[str, ...], str], ...] = (
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


def require_base_model(path: Path, header: Header, files: Collection[str] = ()) -> None:
    """Refuse a safetensors file that holds no plain text-to-image model with VAE and text encoders, but for the parts
    that have ``files`` of their own (``vae``, or the component name of a text encoder).

    Raises:
        UserError: says what it holds instead.
    """
    shapes = header.shapes
    if other := kind_of(shapes):
        raise UserError(f"{path}: this file is {other.what}; {other.instead or _TAKE}")
    denoiser = next((one for one in DENOISERS.values() if _holds(shapes, one)), None)
    if denoiser is None:
        raise UserError(f"{path}: this file {_what_else(shapes)}; {_TAKE}")
    first = shapes.get(f"{UNET}input_blocks.0.0.weight", ())
    if len(first) == 4 and first[1] in _CHANNELS:
        raise UserError(f"{path}: this file is {_CHANNELS[first[1]]}")
    if dtypes := {dtype for name, dtype in header.dtypes.items() if name.startswith(UNET)} & _WHOLE_NUMBERS:
        raise UserError(
            f"{path}: this file is quantised ({', '.join(sorted(dtypes))}); give the version of this model in fp16, "
            "bf16 or fp32."
        )
    family = next(family for family in FAMILIES if family.denoiser == denoiser.class_name)
    missing = _missing(shapes, family, files)
    if not missing:
        return
    what = f"{path}: this file has no {' and no '.join(missing.values())}"
    keys = [key for key in missing if key]
    if len(keys) < len(missing):
        raise UserError(f"{what}; {_TAKE}")
    raise UserError(
        f"{what}; name {'the file' if len(keys) == 1 else 'files'} with {'it' if len(keys) == 1 else 'them'} in "
        f"{' and '.join(keys)}, or give a version of the checkpoint that has all parts."
    )


def _holds(shapes: Mapping[str, Shape], denoiser: Denoiser[Any]) -> bool:
    """Whether a denoiser of this kind is there; the UNet in a checkpoint only, as its family shows in the rest."""
    prefix = denoiser_prefix(shapes, denoiser)
    return prefix == UNET or (prefix == "" and denoiser.class_name != UNet.class_name)


def require_model_folder(path: Path) -> None:
    """Refuse a folder that is no diffusers folder of a model that can be trained.

    Raises:
        UserError: says what is in it instead.
    """
    index = path / "model_index.json"
    pipeline = _json(index).get("_class_name")
    if isinstance(pipeline, str) and pipeline not in _PIPELINES:
        raise UserError(f"{path}: this is a model of diffusers' {pipeline}, which is not supported; {_TAKE}")
    folders = dict.fromkeys(denoiser.folder for denoiser in DENOISERS.values())
    if any((path / folder / "config.json").is_file() for folder in folders):
        return
    part = _json(path / "config.json").get("_class_name")
    if isinstance(part, str) and (path.parent / "model_index.json").is_file():
        raise UserError(
            f"{path}: this is one part of a diffusers model ({part}); give the folder above, {path.parent}."
        )
    if (path / "adapter_config.json").is_file():
        raise UserError(f"{path}: this folder holds a LoRA of PEFT, not a base model; {_TAKE}")
    if snapshots := sorted(path.glob("snapshots/*/model_index.json")):
        raise UserError(f"{path}: the model is further down; give the folder {snapshots[-1].parent}.")
    if names := sorted(entry.name for entry in path.glob("*.safetensors")):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise UserError(f"{path}: this is a folder with checkpoints; name the file itself ({names[0]}{more}).")
    raise UserError(
        f"{path}: this is no diffusers folder of a Stable Diffusion model, "
        f"{' or '.join(f'{folder}/config.json' for folder in folders)} is not in it; "
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
    candidates = (
        one for one, after in zip(words, following, strict=False) if one != "hyper" or not after.startswith("real")
    )
    return next((word for word in candidates if word in _DISTILLED), None)


def _what_else(shapes: Mapping[str, Shape]) -> str:
    """What a file without an original UNet holds, as "is ..." or "holds ..."."""
    if not shapes:
        return "holds no tensors"
    for denoiser in DENOISERS.values():
        if denoiser.marker in shapes:
            return f"is the {denoiser.title} of a {denoiser.name} model alone"
    tops = {name.partition(".")[0] for name in shapes}
    heads, what = _SINGLE_COMPONENTS[0]
    if {"unet", "vae"} <= tops:
        return f"is {what} (its names start with {', '.join(heads)})"
    for heads, what in _SINGLE_COMPONENTS[1:]:
        if any(name.startswith(heads) for name in shapes):
            return f"is {what}"
    return f"holds no Stable Diffusion UNet (its first tensor is {next(iter(shapes))})"


def _missing(shapes: Mapping[str, Shape], family: Family, files: Collection[str]) -> dict[str, str]:
    """What a checkpoint with a denoiser of ``family`` lacks, by the key that can name a file with it; those with a UNet
    are distinguished here."""
    missing: dict[str, str] = {}
    if family.denoiser == UNet.class_name:
        missing[""] = next(_missing_texts(shapes), "")
    else:
        for layout, key in zip(family.text_encoders, family.component_names, strict=True):
            if key not in files and not _any(shapes, layout.prefix):
                missing[key] = f"text encoder {key}"
    halves = [half for half in ("encoder", "decoder") if not _any(shapes, f"{family.vae_prefix}{half}.")]
    if halves and "vae" not in files:
        missing["vae"] = "VAE" if len(halves) == 2 else f"{halves[0]} in its VAE"
    return {key: what for key, what in missing.items() if what}


def _missing_texts(shapes: Mapping[str, Shape]) -> Iterator[str]:
    xl = f"{UNET}label_emb.0.0.weight" in shapes
    heads = ("conditioner.embedders.0.", "conditioner.embedders.1.") if xl else _TEXTS
    there = [_any(shapes, head) for head in heads]
    if xl and any(there) and not all(there):
        yield f"{'second' if there[0] else 'first'} text encoder, of the two that SDXL has"
    elif not any(there):
        yield "text encoder"


def _any(shapes: Mapping[str, Shape], head: str) -> bool:
    return any(name.startswith(head) for name in shapes)
