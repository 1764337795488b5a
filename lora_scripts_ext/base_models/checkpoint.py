"""Reading what ``base_model`` names: a single-file checkpoint as Civitai serves them, or a diffusers folder.

Only headers and configs are read here. ``to_diffusers`` and ``to_original`` convert whole state dicts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import PART_FILES, Config
from ..contract import FamilyName, PredictionType
from ..errors import UserError
from ..families.registry import by_name, short_titles
from ..models.safetensors_file import PICKLES, Header, read_header
from .diffusers_folder import read_folder
from .inference_yaml import read_inference_yaml
from .original_layout import family_of, read_parts, reason, to_diffusers, to_original
from .parts import Checkpoint
from .refusals import require_base_model, warnings_on

__all__ = ["read_checkpoint", "read_file", "to_diffusers", "to_original"]

_V_PRED = re.compile(r"v[-_ ]?pred", re.IGNORECASE)


def read_checkpoint(config: Config) -> Checkpoint:
    """Read what ``config.base_model`` is: a ``.safetensors`` in the original layout, or a diffusers folder.

    Only headers and configs are read. ``model_family``, ``prediction_type`` and ``zero_terminal_snr`` of ``config``
    have the last word.

    Raises:
        UserError: it is missing, damaged, or no base model that can be trained here.
    """
    path = Path(config.base_model)
    if path.is_dir():
        if files := _files(config):
            raise UserError(f"{next(iter(files))}: {path} is a folder with parts of its own; leave this key empty.")
        checkpoint = read_folder(path, config.model_family)
    elif path.suffix.lower() in (".safetensors", ".gguf", *PICKLES) or path.is_file():
        checkpoint = read_file(path, config.model_family, _files(config))
    else:
        raise UserError(
            f"base_model {path}: there is no such file or folder; give a .safetensors checkpoint or a diffusers folder "
            "on this machine (models are not downloaded)."
        )
    family = by_name(checkpoint.family)
    if config.train_text_encoder and not family.trains_text_encoders:
        raise UserError(f"train_text_encoder is on; {family.title}'s text encoders are not trained, set it to false.")
    overrides: dict[str, Any] = {}
    if config.prediction_type == "auto" and checkpoint.prediction_type == "epsilon" and _V_PRED.search(checkpoint.name):
        overrides["warnings"] = (
            *checkpoint.warnings,
            f"{path}: the name says v-prediction, the model itself does not; if the name is right, set "
            "prediction_type: v_prediction.",
        )
    if config.prediction_type != "auto" and not family.has_flow:
        overrides["prediction_type"] = config.prediction_type
    if config.zero_terminal_snr is not None:
        overrides["schedule"] = replace(checkpoint.schedule, zero_terminal_snr=config.zero_terminal_snr)
    return replace(checkpoint, **overrides)


def _files(config: Config) -> dict[str, Path]:
    """The parts that have a file of their own, by their key."""
    return {key: Path(value) for key in PART_FILES if (value := getattr(config, key))}


def read_file(path: Path, family: str = "auto", files: Mapping[str, Path] | None = None) -> Checkpoint:
    """Read the header of a single-file checkpoint, and ``NAME.yaml`` if it lies beside it.

    ``files``: those of parts that are taken from elsewhere, see ``original_layout.read_parts``.

    Raises:
        UserError: it is missing, damaged, or no base model that can be trained here.
    """
    header, files = read_header(path), files or {}
    require_base_model(path, header, files)
    try:
        known = family_of(header.shapes) if family == "auto" else family
    except ValueError as error:
        raise UserError(f"{path}: this file cannot be trained on, {error}; take a full checkpoint.") from error
    kind = by_name(known)
    if unused := [key for key in files if key != "vae" and key not in kind.component_names]:
        raise UserError(f"{unused[0]} is set; {kind.title} has no such text encoder, leave it empty.")
    first = kind.text_encoders[0].prefix
    if kind.component_names[0] not in files and not any(name.startswith(first) for name in header.shapes):
        raise UserError(
            f"{path}: a text encoder of the {known} family is not in this file; "
            "take a full checkpoint, or correct model_family."
        )
    yaml = read_inference_yaml(path)
    try:
        unet, vae, texts = read_parts(path, header.shapes, known, yaml, files)
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{path}: this is not a {short_titles()} base model as it should be: {reason(error)}; take another version "
            "of it."
        ) from error
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    return Checkpoint(
        path=path,
        family=known,
        unet=unet,
        vae=vae,
        texts=texts,
        schedule=replace(yaml.schedule, zero_terminal_snr=_zero_terminal_snr(header)),
        prediction_type="flow" if kind.has_flow else yaml.prediction_type or _prediction(header, known),
        scaling_factor=yaml.scaling_factor or kind.scaling_factor,
        shift_factor=kind.shift_factor,
        tokenizers=yaml.text_folders[: len(texts)],
        side=yaml.latent_side * factor if yaml.latent_side else None,
        warnings=tuple(warnings_on(path, header)),
    )


def _prediction(header: Header, family: FamilyName) -> PredictionType | None:
    """What the file says: SDXL's empty marker tensor, or metadata of a merge or a training.

    None for a family whose files need not say.
    """
    metadata = header.metadata
    stated = (metadata.get("modelspec.prediction_type") or metadata.get("modelspec.predict_key") or "").lower()
    if "v_pred" in header.shapes or stated.startswith("v") or metadata.get("ss_v_parameterization") == "True":
        return "v_prediction"
    if stated.startswith("eps") or by_name(family).epsilon_by_default:
        return "epsilon"
    return None


def _zero_terminal_snr(header: Header) -> bool:
    return "ztsnr" in header.shapes or header.metadata.get("ss_zero_terminal_snr") == "True"
