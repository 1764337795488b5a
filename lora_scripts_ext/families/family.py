"""What the families of base models differ in; one file a family states it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..contract import Conditioning, ModelInfo, Part, PredictionType


@dataclass(frozen=True)
class Heads:
    """How attention is split, which no shape tells: ``count`` heads everywhere, or heads of ``channels`` each."""

    count: int | None = None
    channels: int | None = None

    def of(self, width: int) -> int:
        """The number of heads in an attention ``width`` channels wide."""
        return self.count or max(1, width // (self.channels or width))


@dataclass(frozen=True)
class TextEncoderLayout:
    """A text encoder in a single-file checkpoint.

    Attributes:
        prefix: of its tensors' names.
        open_clip: open_clip's layout, else transformers'.
        t5: T5's encoder, else CLIP's.
        projection: whether it has a text projection.
        unused_layers: layers at its end that the file holds and the family never computes.
    """

    prefix: str
    open_clip: bool
    t5: bool = False
    projection: bool = False
    unused_layers: int = 0


class TextEncoders(Protocol):
    """The text encoders of a model with their tokenizers, as ``models.text.TextEncoders`` has them.

    Attributes:
        models: the encoders, in the family's order.
        clip_skip: which layer of CLIP is read, counted from the end; the last is 1.
    """

    models: list[nn.Module]
    clip_skip: int

    def run(self, index: int, captions: Sequence[str], device: torch.device) -> tuple[Any, Tensor]:
        """The output of encoder ``index`` with all hidden states, and each caption's end token, int64 [captions]."""

    def tokens(self, index: int, captions: Sequence[str], device: torch.device) -> Tensor:
        """The captions' tokens for encoder ``index``, int64 [captions, tokens]."""


class Family(ABC):
    """A family of base models.

    Attributes:
        name: in configs, caches and LoRA files.
        title: in sentences to users.
        short_title: on a LoRA's card in a WebUI.
        preset: in WebUIs that have presets for kinds of models, the one for this family; empty where there is none.
        class_name: of the model class in Stability's and ComfyUI's code, by which WebUIs call it.
        component_names: of the text encoders, as ComfyUI names their files.
        denoiser: diffusers' class of its denoiser; ``models.denoisers`` has what goes with it.
        text_encoders: in a single-file checkpoint, in the order of the prompt's encoding.
        vae_prefix: of the VAE's tensors in a single-file checkpoint.
        pipelines: diffusers' classes that can be trained.
        heads: of the UNet's attention.
        scaling_factor: of the VAE's latents, after ``shift_factor`` is subtracted.
        shift_factor: of the VAE's latents.
        input_channels: of the denoiser.
        has_pooled: whether the denoiser takes a pooled text embedding.
        has_time_ids: whether it takes the sizes of the image and its crop.
        has_flow: whether it predicts a flow, always.
        training_guidance: the guidance scale that is given to the denoiser in training, where it takes one.
        takes_guidance: whether the denoiser takes the guidance scale as an input, instead of being computed twice.
        trains_text_encoders: whether its text encoders can learn.
        epsilon_by_default: whether a checkpoint that does not state its prediction type predicts epsilon; else the
            model is tested.
        keys_from_original: whether kohya's UNet keys follow the original layout, else diffusers'.
        cfg_scale: of a preview.
        caption_encoder: index of the text encoder whose token limit a caption has.
        kohya_v2: whether kohya's metadata mark it as v2.
        implementation: of ``modelspec``, where the model comes from.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    short_title: ClassVar[str]
    preset: ClassVar[str] = ""
    class_name: ClassVar[str]
    component_names: ClassVar[tuple[str, ...]]
    denoiser: ClassVar[str] = "UNet2DConditionModel"
    text_encoders: ClassVar[tuple[TextEncoderLayout, ...]] = ()
    vae_prefix: ClassVar[str] = "first_stage_model."
    pipelines: ClassVar[tuple[str, ...]] = ()
    heads: ClassVar[Heads] = Heads()
    scaling_factor: ClassVar[float] = 0.18215
    shift_factor: ClassVar[float] = 0.0
    input_channels: ClassVar[int] = 4
    has_pooled: ClassVar[bool] = False
    has_time_ids: ClassVar[bool] = False
    has_flow: ClassVar[bool] = False
    takes_guidance: ClassVar[bool] = False
    training_guidance: ClassVar[float] = 1.0
    trains_text_encoders: ClassVar[bool] = True
    epsilon_by_default: ClassVar[bool] = True
    keys_from_original: ClassVar[bool] = False
    cfg_scale: ClassVar[float] = 7.0
    caption_encoder: ClassVar[int] = 0
    kohya_v2: ClassVar[bool] = False
    implementation: ClassVar[str] = "diffusers"

    @abstractmethod
    def resolution(self, prediction_type: PredictionType | None) -> int:
        """Pixels of the side that the family was trained at."""

    @abstractmethod
    def encode_text(self, encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
        """Conditioning of ``captions`` in the encoders' dtype, without ``time_ids``; differentiable when gradients are
        enabled."""

    def text_key_prefix(self, part: Part) -> str:
        """How kohya's keys of the text encoder ``part`` begin."""
        return "lora_te"

    def variant(self, denoiser: nn.Module) -> str:
        """``ModelInfo.variant`` of a denoiser in the original layout; empty where the family has none."""
        return ""

    def timestep_shift(self, variant: str, cells: int) -> float:
        """How much the timesteps of a flow are shifted towards noise, in training and sampling, for latents of so many
        cells (arXiv 2403.03206, section 5.3.2); 1 is not at all."""
        return 1.0

    @abstractmethod
    def base_model_version(self, model: ModelInfo) -> str:
        """kohya's ``ss_base_model_version``."""

    @abstractmethod
    def architecture(self, model: ModelInfo) -> str:
        """``modelspec.architecture`` of a LoRA, after the model specification of Stability AI."""

    def scale_text(self, cfg_scale: float) -> str:
        """How a WebUI states the scale in the parameters of an image."""
        return f"CFG scale: {cfg_scale}"


def last_layer(encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
    """The first encoder's last hidden states, or the ``clip_skip``-th last, through its final layer norm."""
    output, _ = encoders.run(0, captions, device)
    norm = encoders.models[0].get_submodule("text_model.final_layer_norm")
    return Conditioning(norm(output.hidden_states[-encoders.clip_skip]))
