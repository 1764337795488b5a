"""A base model on disk: its parts, ready to be built, and the facts that go with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..contract import FamilyName, Part, PredictionType
from ..errors import UserError
from ..families.registry import by_name
from ..models.noise_schedule import Schedule
from ..models.safetensors_file import Shape
from ..models.weights import Source, read_tensors

Build = Callable[[Mapping[str, Any]], nn.Module]


@dataclass(frozen=True)
class ModelPart:
    """One model of a checkpoint, in diffusers' or transformers' terms.

    Attributes:
        name: what errors call it, such as "UNet".
        build: the model of a configuration, on torch's default device.
        config: of the model's class.
        sources: for each of the model's tensors, where it lies in ``files``.
        shapes: of the tensors in ``files``.
    """

    name: str
    build: Build
    config: Mapping[str, Any]
    sources: Mapping[str, Source]
    shapes: Mapping[str, Shape]
    files: tuple[Path, ...]

    @cached_property
    def skeleton(self) -> nn.Module:
        """The model on the meta device, checked: the files hold its tensors, all of them, in the right shapes.

        Raises:
            UserError: they do not.
        """
        try:
            with torch.device("meta"):
                model = self.build(self.config)
        # What the libraries raise for a configuration that is none.
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
            raise UserError(
                f"{self.files[0].parent}: the configuration of the {self.name} describes no model ({error}); download "
                "the model again."
            ) from error
        self._check(model)
        return model.requires_grad_(False).eval()

    def load(self, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """The model with its weights on ``device`` in ``dtype``, frozen, in eval mode. Uses up the skeleton.

        Raises:
            UserError: a file is damaged, does not fit the model, or ``dtype`` cannot hold its values.
        """
        model = self.skeleton
        tensors = read_tensors(self.sources, self.files, device, dtype, self.name)
        model.load_state_dict(tensors, strict=True, assign=True)
        del self.__dict__["skeleton"]
        _fill_positions(model, device)
        return model.requires_grad_(False).eval()

    def _check(self, model: nn.Module) -> None:
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        actual = {name: self._shape(source) for name, source in self.sources.items()}
        for name in [*expected, *actual]:
            if expected.get(name) != actual.get(name):
                raise UserError(
                    f"{self.files[0]}: the {self.name} tensor {name} is {_described(actual.get(name))}, expected "
                    f"{_described(expected.get(name))}; the file is incomplete or not a plain Stable Diffusion model, "
                    "take another version of it."
                )

    def _shape(self, source: Source) -> Shape:
        """The shape that a tensor of the file has in the model; its own where it cannot be brought into one."""
        shapes = [self.shapes[name] for name in source.names]
        try:
            return tuple(source.take(*(torch.empty(shape, device="meta") for shape in shapes)).shape)
        except (RuntimeError, IndexError):
            return shapes[0]


@dataclass(frozen=True)
class Checkpoint:
    """A base model as it lies on disk; nothing is loaded.

    Attributes:
        texts: the text encoders: one, for SDXL two.
        schedule: with its zero-terminal-SNR flag as the checkpoint says.
        scaling_factor: of latents from the VAE, after ``shift_factor`` is subtracted.
        prediction_type: None when an SD2 checkpoint does not say.
        tokenizers: for each text encoder, a folder with its own tokenizer files; None takes the shipped one.
        side: pixels of the side it was trained at; None where it does not say.
        warnings: as ``ModelInfo.warnings``.
    """

    path: Path
    family: FamilyName
    unet: ModelPart
    vae: ModelPart
    texts: tuple[ModelPart, ...]
    schedule: Schedule
    prediction_type: PredictionType | None
    scaling_factor: float
    shift_factor: float
    tokenizers: tuple[Path | None, ...]
    side: int | None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's stem, or the folder's name."""
        return self.path.resolve().name if self.path.is_dir() else self.path.stem

    @property
    def files(self) -> tuple[Path, ...]:
        """The files with weights, each once."""
        parts = (self.unet, self.vae, *self.texts)
        return tuple(dict.fromkeys(file for part in parts for file in part.files))

    @property
    def vae_factor(self) -> int:
        """Pixels per latent cell along one side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    def resolution(self, prediction_type: PredictionType | None) -> int:
        """Pixels of the side it was trained at."""
        return self.side or by_name(self.family).resolution(prediction_type)

    def text_parts(self) -> dict[Part, ModelPart]:
        """The text encoders by their part name."""
        return dict(zip(("te1", "te2"), self.texts, strict=False))


def _fill_positions(model: nn.Module, device: torch.device) -> None:
    """transformers keeps the position numbers in a buffer that no file holds: it is still on the meta device."""
    for module in model.modules():
        positions = getattr(module, "position_ids", None)
        if positions is not None and positions.is_meta:
            module.position_ids = torch.arange(positions.shape[-1], device=device)[None]


def _described(shape: Shape | None) -> str:
    return "missing" if shape is None else f"{list(shape)}"
