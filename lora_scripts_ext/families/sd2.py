"""Stable Diffusion 2 (2.0, 2.1): one open_clip text encoder; 512 pixels, or 768 where it predicts v."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contract import Conditioning, ModelInfo, PredictionType
from .family import Family, Heads, TextEncoderLayout, TextEncoders, last_layer


class StableDiffusion2(Family):
    """See ``Family``."""

    name = "sd2"
    title = "Stable Diffusion 2"
    short_title = "SD2"
    class_name = "StableDiffusion2"
    pipelines = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    component_names = ("clip_h",)
    # It was trained on the last layer but one: the last is in the file and never used.
    text_encoders = (TextEncoderLayout("cond_stage_model.model.", open_clip=True, unused_layers=1),)
    heads = Heads(channels=64)
    epsilon_by_default = False
    kohya_v2 = True

    def resolution(self, prediction_type: PredictionType | None) -> int:
        """See ``Family.resolution``; the one that predicts v is the one for 768."""
        return 768 if prediction_type == "v_prediction" else 512

    def encode_text(self, encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
        """Hidden states [captions, 77, 1024] of the last layer that is used, the original's last but one, normed."""
        return last_layer(encoders, captions, device)

    def base_model_version(self, model: ModelInfo) -> str:
        """See ``Family.base_model_version``."""
        return "sd_v2_v" if model.prediction_type == "v_prediction" else "sd_v2"

    def architecture(self, model: ModelInfo) -> str:
        """See ``Family.architecture``."""
        return f"stable-diffusion-v2-{'768-v' if model.prediction_type == 'v_prediction' else '512'}/lora"
