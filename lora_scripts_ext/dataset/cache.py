"""Latents and text embeddings on disk, each file named after the hash of its inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from .. import files
from ..config import Config
from ..contract import ModelInfo
from ..errors import UserError
from .example import Example

_VERSION = 1
"""To be raised when the same inputs give other tensors or another layout."""


class Cache:
    """Where the tensors of an image or a caption lie.

    A key holds everything the tensors depend on, so a file is either right or never looked at again.
    """

    def __init__(self, config: Config, model: ModelInfo) -> None:
        self._folder = config.cache_path
        self._model = [_VERSION, model.hash, model.family, str(model.dtype)]
        self._vae = [*self._model, *([model.vae] if model.vae else [])]
        self._masked = config.masked_loss
        self._text = [config.clip_skip, config.text_model_dir]

    def of_image(self, example: Example, content: str) -> Path:
        """File of an example's latents; ``content`` is the hash of its image and mask files and its edit."""
        views = [dataclasses.astuple(view) for view in example.views]
        return self._path("latents", [*self._vae, content, example.bucket, example.resized, views, self._masked])

    def of_caption(self, variants: Sequence[str]) -> Path:
        """File of the embeddings of a caption's texts."""
        return self._path("text", [*self._model, *self._text, variants])

    def _path(self, kind: str, key: list[Any]) -> Path:
        # ASCII JSON is the same text on every system, whatever the caption holds.
        return self._folder / kind / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"


def sweep(config: Config) -> None:
    """Delete what killed runs were writing here; another run may share the folder, and what it writes stays."""
    for kind in ("latents", "text"):
        files.sweep(config.cache_path / kind)


def load(path: Path, names: Collection[str]) -> dict[str, Tensor] | None:
    """The tensors of a cache file, or None where it is missing, damaged or lacks one of ``names``."""
    try:
        # Read whole rather than mapped: Windows cannot replace a file that is mapped.
        tensors = safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError):
        return None
    return tensors if tensors.keys() >= set(names) else None


def load_row(path: Path, row: int, names: Collection[str]) -> dict[str, Tensor]:
    """One row of the tensors of a cache file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            return {name: file.get_slice(name)[row] for name in names}
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"cache_dir: {path} cannot be read any more ({error}); leave the folder alone while a run uses it, and "
            "resume the run."
        ) from error


def save(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a cache file, whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise UserError(
            f"cache_dir: {path.parent} cannot be written ({error.strerror}); free disk space or name another folder."
        ) from error
