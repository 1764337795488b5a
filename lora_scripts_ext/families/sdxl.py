"""Stable Diffusion XL: CLIP and open_clip side by side, a pooled text embedding and sizes, 1024 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contract import Conditioning, ModelInfo, Part, PredictionType
from .family import Family, Heads, TextEncoderLayout, TextEncoders


class StableDiffusionXL(Family):
    """See ``Family``."""

    name = "sdxl"
    title = "Stable Diffusion XL"
    short_title = "SDXL"
    preset = "xl"
    class_name = "StableDiffusionXL"
    pipelines = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")
    component_names = ("clip_l", "clip_g")
    text_encoders = (
        TextEncoderLayout("conditioner.embedders.0.transformer.", open_clip=False),
        TextEncoderLayout("conditioner.embedders.1.model.", open_clip=True, projection=True),
    )
    heads = Heads(channels=64)
    scaling_factor = 0.13025
    has_pooled = True
    has_time_ids = True
    keys_from_original = True
    implementation = "https://github.com/Stability-AI/generative-models"

    def resolution(self, prediction_type: PredictionType | None) -> int:
        """See ``Family.resolution``."""
        return 1024

    def encode_text(self, encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
        """The last but one layer of both encoders side by side [captions, 77, 2048], without the norm, and the second's
        projected end token as ``pooled`` [captions, 1280]."""
        first, _ = encoders.run(0, captions, device)
        second, ends = encoders.run(1, captions, device)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        rows = torch.arange(len(captions), device=device)
        project = encoders.models[1].get_submodule("text_projection")
        return Conditioning(context, project(second.last_hidden_state[rows, ends]))

    def text_key_prefix(self, part: Part) -> str:
        """See ``Family.text_key_prefix``: the two encoders have different prefixes."""
        return f"lora_{part}"

    def base_model_version(self, model: ModelInfo) -> str:
        """See ``Family.base_model_version``."""
        return "sdxl_base_v1-0"

    def architecture(self, model: ModelInfo) -> str:
        """See ``Family.architecture``."""
        return "stable-diffusion-xl-v1-base/lora"
