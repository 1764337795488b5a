"""Stable Diffusion 1 (1.4, 1.5): one CLIP text encoder, 512 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contract import Conditioning, ModelInfo, PredictionType
from .family import Family, Heads, TextEncoderLayout, TextEncoders, last_layer


class StableDiffusion1(Family):
    """See ``Family``."""

    name = "sd1"
    title = "Stable Diffusion 1"
    short_title = "SD1"
    preset = "sd"
    class_name = "StableDiffusion"
    pipelines = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "LatentConsistencyModelPipeline")
    component_names = ("clip_l",)
    text_encoders = (TextEncoderLayout("cond_stage_model.transformer.", open_clip=False),)
    heads = Heads(count=8)

    def resolution(self, prediction_type: PredictionType | None) -> int:
        """See ``Family.resolution``."""
        return 512

    def encode_text(self, encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
        """The last layer's hidden states [captions, 77, 768], or with ``clip_skip`` n the n-th last's, normed."""
        return last_layer(encoders, captions, device)

    def base_model_version(self, model: ModelInfo) -> str:
        """See ``Family.base_model_version``."""
        return "sd_v1"

    def architecture(self, model: ModelInfo) -> str:
        """See ``Family.architecture``."""
        return "stable-diffusion-v1/lora"
