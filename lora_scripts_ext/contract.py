"""The contract between the trainer and the host that holds the base model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL.Image import Image

    from .config import Config

#: the name of a family of base models; ``families.by_name`` gives the family
FamilyName = str
PredictionType = Literal["epsilon", "v_prediction", "flow"]
Part = Literal["unet", "te1", "te2"]
TEXT_PARTS: tuple[Part, ...] = ("te1", "te2")


@dataclass(frozen=True)
class ModelInfo:
    """Facts about the base model that training needs.

    Attributes:
        alphas_cumprod: float32 [num_timesteps] on CPU, the schedule training uses (already rescaled when
            ``zero_terminal_snr`` is set); empty where the prediction is ``flow``.
        hash: SHA-256 (hex) of the checkpoint file, or of the weights for a folder.
        vae: identifies a VAE selected beside the checkpoint; empty for the checkpoint's own.
        vae_factor: pixels per latent cell along one side (8 for real Stable Diffusion).
        resolution: the side in pixels that the family was trained at (512, 768, 1024).
        dtype: the compute dtype of the frozen weights.
        variant: the model within its family, where they differ: Flux's ``dev`` or ``schnell``.
        card_version: the "sd version" of a LoRA's card, where the WebUI has words of its own for it; else empty.
        warnings: sentences about a model that can be trained but may not be the intended one.
    """

    family: FamilyName
    prediction_type: PredictionType
    zero_terminal_snr: bool
    alphas_cumprod: Tensor
    name: str
    hash: str
    vae_factor: int
    resolution: int
    device: torch.device
    dtype: torch.dtype
    vae: str = ""
    variant: str = ""
    card_version: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A frozen Linear or Conv2d that an adapter can attach to.

    Attributes:
        key: kohya name without suffix, e.g. ``lora_unet_down_blocks_0_attentions_0_..._attn1_to_q``.
        path: diffusers (UNet) or transformers (text encoder) module path, e.g.
            ``down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q``; what target sets are matched on.
    """

    module: nn.Module
    key: str
    path: str
    part: Part
    kind: Literal["linear", "conv"]


@dataclass(frozen=True)
class LatentDistribution:
    """Scaled latents of a batch of images: ``mean`` and ``std`` float32 [batch, channels, height, width]."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Conditioning:
    """Inputs of the denoiser beside latents and timestep.

    Attributes:
        context: [batch, tokens, width], the text encoders' hidden states.
        pooled: [batch, width] of the second text encoder (SDXL), of CLIP beside T5 (Flux).
        time_ids: float32 [batch, 6] in pixels, SDXL only: original height, width, crop top, left, target height, width.
    """

    context: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None


@dataclass(frozen=True)
class PreviewRequest:
    """One image to draw with the loaded model: ``width`` and ``height`` in pixels.

    ``strength`` multiplies the effect of a LoRA that is given as a file.
    """

    prompt: str
    negative: str
    seed: int
    width: int
    height: int
    steps: int
    cfg_scale: float
    sampler: str
    strength: float = 1.0


@dataclass(frozen=True)
class WeightedLora:
    """A LoRA file and the strength that it is used at."""

    file: Path
    weight: float = 1.0


@dataclass(frozen=True)
class Inpainting:
    """An image of which a part is inpainted.

    Attributes:
        image: RGB, of the request's size.
        mask: mode ``L``, of that size: white where it is inpainted, black where it is kept.
        denoising_strength: from 0, which keeps the image as it is, to 1, which starts from pure noise.
    """

    image: Image
    mask: Image
    denoising_strength: float = 1.0


@dataclass(frozen=True)
class Control:
    """An image that ControlNet or an IP-Adapter is given.

    Attributes:
        preprocessor: as the WebUI's ControlNet calls it; empty for none.
        model: likewise.
    """

    image: Image
    preprocessor: str
    model: str
    weight: float = 1.0


@dataclass(frozen=True)
class Region:
    """A part of the image with a prompt and LoRAs of its own, which act nowhere else.

    Attributes:
        mask: mode ``L``, of the request's size, white where the region is; the masks of all regions cover the image.
    """

    prompt: str
    loras: tuple[WeightedLora, ...]
    mask: Image


@dataclass(frozen=True)
class DrawRequest:
    """Images of one prompt, one for each seed: ``width`` and ``height`` in pixels.

    Attributes:
        prompt: of the whole image; with ``regions`` what is said of all of them.
        loras: act on the whole image.
    """

    prompt: str
    negative: str
    seeds: tuple[int, ...]
    width: int
    height: int
    steps: int
    cfg_scale: float
    sampler: str
    loras: tuple[WeightedLora, ...] = ()
    inpainting: Inpainting | None = None
    control: Control | None = None
    reference: Control | None = None
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Size:
    """A model's parameters, and the bytes they take on the device."""

    parameters: int
    bytes: int


@dataclass(frozen=True)
class Inspection(ABC):
    """A base model on the meta device: what estimating a run needs.

    Attributes:
        prediction_type: None where only loading the model would tell.
        sizes: by part: ``unet``, ``te1``, ``te2``, and ``vae`` where a run loads it.
        unet: on the meta device, in the precision of training (Flux: the transformer).
        texts: the text encoders that can be trained, on the meta device.
        targets: as ``Session.targets``, on the meta device.
        loaded: whether the weights are in memory already.
        warnings: as ``ModelInfo.warnings``.
    """

    loaded: ClassVar[bool]

    name: str
    family: FamilyName
    prediction_type: PredictionType | None
    vae_factor: int
    resolution: int
    device: torch.device
    dtype: torch.dtype
    sizes: dict[str, Size]
    unet: nn.Module
    texts: list[nn.Module]
    targets: list[Target]
    warnings: tuple[str, ...]

    @abstractmethod
    def blocks(self) -> Iterable[nn.Module]:
        """As ``Session.blocks``."""

    @abstractmethod
    def conditioning(self, batch: int) -> Conditioning:
        """What the UNet takes beside ``batch`` latents and timesteps, on the meta device."""

    @abstractmethod
    def predict(self, batch: int, width: int, height: int, states: Sequence[Tensor] = ()) -> Tensor:
        """What the UNet would do with ``batch`` images of ``width`` x ``height`` pixels, on the meta device.

        ``states``: what :meth:`encode_text` gives; without it the text is taken to be encoded already.
        """

    @abstractmethod
    def encode_text(self, batch: int) -> list[Tensor]:
        """What the text encoders would do with ``batch`` captions: the hidden states of each, on the meta device."""


class Session(Protocol):
    """The model during a run: everything is frozen, in eval mode and on its device."""

    @property
    def model(self) -> ModelInfo:
        """Facts about it."""

    @property
    def caption_tokens(self) -> int:
        """The number of tokens of a caption that are read (75; Flux 255)."""

    @property
    def cut_captions(self) -> set[str]:
        """Captions encoded so far that were truncated to these."""

    @property
    def draws_from_file(self) -> bool:
        """Whether ``preview`` takes the LoRA as a file and wants the adapter suspended meanwhile."""

    @property
    def wider_precision(self) -> str:
        """What to do where fp16 is too small, such as "set mixed_precision: bf16 or fp32"."""

    def parts(self) -> Mapping[str, nn.Module]:
        """The base model's parts, by what errors call them: ``UNet``, ``VAE``, ``text encoder 1``."""

    def outline(self) -> Inspection:
        """The model on the meta device, for estimating the memory of a step."""

    def targets(self) -> Iterable[Target]:
        """Every Linear and Conv2d of the UNet and text encoders that has a kohya name."""

    def blocks(self) -> Iterable[nn.Module]:
        """The UNet's repeated blocks, the units of gradient checkpointing."""

    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """``pixels`` float32 [batch, 3, height, width] in [-1, 1] -> scaled latents, without gradient."""

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Context (and pooled) for captions; differentiable when gradients are enabled. ``time_ids`` is None."""

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's raw output (epsilon, v or flow), float32 like ``noisy`` [batch, channels, height, width];
        ``timesteps`` [batch] int64, for flow float32 in 0 to 1."""

    def release_encoders(self, text: bool) -> None:
        """The VAE (and, with ``text``, the text encoders) are not needed for a while: the host may free the device."""

    def preview(self, request: PreviewRequest, lora: Path | None = None) -> Image:
        """Draw one image with the host's own sampler: with the attached adapter or, where ``draws_from_file``, with
        the file ``lora`` at ``request.strength`` (None: without)."""


class Drawer(Protocol):
    """A base model that draws finished images with its host's own sampler, outside of any training."""

    @property
    def model_name(self) -> str:
        """The base model, as its host calls it."""

    @property
    def model_hash(self) -> str:
        """SHA-256 (hex) of the base model's file; empty where the host does not know it."""

    @property
    def resolution(self) -> int:
        """The side in pixels that its family was trained at."""

    @property
    def cfg_scale(self) -> float:
        """The usual CFG scale of its family."""

    def lacks(self, request: DrawRequest) -> str:
        """What of the request this host cannot do, and what helps, as a sentence; empty where it can do all of it."""

    def draw(self, request: DrawRequest) -> list[Image]:
        """RGB images, one for each seed, in one batch where they fit.

        Raises:
            UserError: the host cannot do it, or a LoRA does not fit the base model.
            Interrupted: someone has stopped the host meanwhile.
        """


class Host(Protocol):
    def open(self, config: Config) -> AbstractContextManager[Session]:
        """Take the model; restore it exactly on every way out."""

    def drawing(self, base_model: str) -> AbstractContextManager[Drawer]:
        """Take the model for drawing finished images; restore it exactly on every way out.

        Raises:
            UserError: the host cannot draw with ``base_model``.
        """

    def lora_dir(self) -> Path:
        """Where finished LoRAs belong."""

    def publish(self, lora: Path) -> None:
        """Make the host list the file now, with no stale copy served; called while a session is open."""


def named_parts(
    unet: nn.Module, vae: nn.Module, texts: Sequence[nn.Module], title: str = "UNet"
) -> dict[str, nn.Module]:
    """``Session.parts`` of these models; ``title`` is the denoiser's."""
    return {title: unet, "VAE": vae, **{f"text encoder {number}": text for number, text in enumerate(texts, 1)}}
