"""Flux.1 (dev, schnell): a transformer in place of the UNet, CLIP and T5, a flow as its prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ..contract import Conditioning, ModelInfo, PredictionType
from .family import Family, TextEncoderLayout, TextEncoders

# The logarithm of the shift of timesteps grows with the patches of an image, linearly through these two points
# (diffusers' ``FluxPipeline``).
_FEW_PATCHES, _SMALL_SHIFT = 256, 0.5
_MANY_PATCHES, _LARGE_SHIFT = 4096, 1.15
_CELLS_PER_PATCH = 4


class Flux(Family):
    """See ``Family``."""

    name = "flux"
    title = "Flux"
    short_title = "Flux"
    preset = "flux"
    class_name = "Flux"
    component_names = ("clip_l", "t5xxl")
    denoiser = "FluxTransformer2DModel"
    text_encoders = (
        TextEncoderLayout("text_encoders.clip_l.transformer.", open_clip=False),
        TextEncoderLayout("text_encoders.t5xxl.transformer.", open_clip=False, t5=True),
    )
    vae_prefix = "vae."
    pipelines = ("FluxPipeline", "FluxImg2ImgPipeline")
    scaling_factor = 0.3611
    shift_factor = 0.1159
    # Sixteen latent channels in patches of 2 x 2.
    input_channels = 64
    has_pooled = True
    has_flow = True
    takes_guidance = True
    # At 1 it is the model before guidance distillation, which the LoRA must not undo (kohya's and ai-toolkit's
    # setting, too).
    training_guidance = 1.0
    trains_text_encoders = False
    cfg_scale = 3.5
    caption_encoder = 1
    implementation = "https://github.com/black-forest-labs/flux"

    def resolution(self, prediction_type: PredictionType | None) -> int:
        """See ``Family.resolution``."""
        return 1024

    def encode_text(self, encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
        """T5's last layer [captions, tokens, 4096], and CLIP's end token, through the final layer norm, as ``pooled``
        [captions, 768]."""
        clip, ends = encoders.run(0, captions, device)
        rows = torch.arange(len(captions), device=device)
        context = encoders.models[1](input_ids=encoders.tokens(1, captions, device))
        return Conditioning(context, clip.last_hidden_state[rows, ends])

    def variant(self, denoiser: nn.Module) -> str:
        """``dev`` takes a guidance scale, ``schnell`` does not."""
        return "dev" if denoiser.guidance_embed else "schnell"

    def timestep_shift(self, variant: str, cells: int) -> float:
        """Of ``dev`` by the size of the image; ``schnell`` has none."""
        if variant != "dev":
            return 1.0
        slope = (_LARGE_SHIFT - _SMALL_SHIFT) / (_MANY_PATCHES - _FEW_PATCHES)
        return math.exp(_SMALL_SHIFT + slope * (cells / _CELLS_PER_PATCH - _FEW_PATCHES))

    def base_model_version(self, model: ModelInfo) -> str:
        """See ``Family.base_model_version``."""
        return "flux1"

    def architecture(self, model: ModelInfo) -> str:
        """See ``Family.architecture``."""
        return f"flux-1-{model.variant}/lora"

    def scale_text(self, cfg_scale: float) -> str:
        """Flux dev is distilled: it takes its scale as an input, instead of being computed twice."""
        return f"CFG scale: 1, Distilled CFG Scale: {cfg_scale}"
