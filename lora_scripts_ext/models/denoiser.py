"""What kinds of denoisers differ in: how one is read from a checkpoint, called, and trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..contract import Conditioning, Target
from ..families.family import Family, Heads
from .safetensors_file import Shape
from .weights import Source

Module = TypeVar("Module", bound=nn.Module)


class Denoiser(ABC, Generic[Module]):
    """A kind of denoiser; its modules are passed to the methods.

    Names of tensors in the original layout are relative to ``model.diffusion_model.``.

    Attributes:
        title: what errors call it.
        name: of the models that have it, as in "a Stable Diffusion model".
        folder: in a diffusers folder.
        class_name: diffusers' class of it.
        marker: a tensor that only this kind has, in the original layout.
    """

    title: ClassVar[str]
    name: ClassVar[str]
    folder: ClassVar[str]
    class_name: ClassVar[str]
    marker: ClassVar[str]

    @abstractmethod
    def config(self, shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
        """The configuration of a denoiser with tensors of these ``shapes``, in the original layout.

        Raises:
            ValueError, KeyError: it is built in a way that is not known.
        """

    @abstractmethod
    def sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """Where each of the module's tensors lies among ``names`` of the original layout.

        Raises:
            ValueError: a denoiser of this ``config`` has no tensor of some name.
        """

    @abstractmethod
    def folder_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`config`, from the ``config.json`` of a diffusers folder."""

    @abstractmethod
    def folder_sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """As :meth:`sources`, among diffusers' ``names``; ``config`` as :meth:`folder_config` gives it."""

    @abstractmethod
    def require_trainable(self, path: Path, config: Mapping[str, Any]) -> None:
        """Refuse a variant that cannot be trained on.

        Raises:
            UserError: it is one; ``path`` is named.
        """

    @abstractmethod
    def build(self, config: Mapping[str, Any]) -> Module:
        """The module, on torch's default device."""

    @abstractmethod
    def latent_channels(self, module: Module) -> int:
        """Channels of its latents."""

    @abstractmethod
    def latent_multiple(self, module: Module) -> int:
        """Latent cells along one side come in multiples of this."""

    @abstractmethod
    def meta_conditioning(self, module: Module, batch: int, family: Family, dtype: torch.dtype) -> Conditioning:
        """Conditioning of the shapes that it takes, on the meta device."""

    @abstractmethod
    def predict(
        self, module: Module, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, guidance: float
    ) -> Tensor:
        """Its raw output [batch, channels, height, width].

        Args:
            module: on the device of the other tensors.
            noisy: latents of that shape; they and ``conditioning`` (but for ``time_ids``) in the compute dtype.
            timesteps: [batch], as ``Session.predict`` takes them.
            conditioning: of as many captions.
            guidance: the distilled guidance scale; for kinds that take one as an input.
        """

    @abstractmethod
    def targets(self, module: Module, family: Family) -> Iterator[Target]:
        """The layers that an adapter can attach to."""

    @abstractmethod
    def blocks(self, module: Module) -> Iterator[nn.Module]:
        """The repeated blocks: most activations live inside them, few pass between."""
