"""Chroma: Flux.1's blocks without its distilled guidance, T5 as the only text encoder, a flow as its prediction."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contract import Conditioning, ModelInfo, PredictionType
from .family import Family, TextEncoderLayout, TextEncoders


class Chroma(Family):
    """See ``Family``."""

    name = "chroma"
    title = "Chroma"
    short_title = "Chroma"
    class_name = "Chroma"
    component_names = ("t5xxl",)
    denoiser = "ChromaTransformer2DModel"
    text_encoders = (TextEncoderLayout("text_encoders.t5xxl.transformer.", open_clip=False, t5=True),)
    vae_prefix = "vae."
    pipelines = ("ChromaPipeline", "ChromaImg2ImgPipeline")
    scaling_factor = 0.3611
    shift_factor = 0.1159
    # Sixteen latent channels in patches of 2 x 2.
    input_channels = 64
    has_flow = True
    trains_text_encoders = False
    # As in diffusers' pipeline.
    cfg_scale = 5.0
    implementation = "https://huggingface.co/lodestones/Chroma1-HD"

    def resolution(self, prediction_type: PredictionType | None) -> int:
        """See ``Family.resolution``."""
        return 1024

    def encode_text(self, encoders: TextEncoders, captions: Sequence[str], device: torch.device) -> Conditioning:
        """T5's last layer of each caption alone [captions, tokens, 4096]; padding is not read, and rows of it are 0."""
        tokens = encoders.tokens(0, captions, device)
        # The end token, the first 1, closes a caption.
        length = (tokens == 1).int().argmax(dim=-1, keepdim=True) + 1
        mask = torch.arange(tokens.shape[1], device=device) < length
        context = encoders.models[0](input_ids=tokens, attention_mask=mask)
        return Conditioning(context * mask[..., None])

    def base_model_version(self, model: ModelInfo) -> str:
        """See ``Family.base_model_version``."""
        return "chroma"

    def architecture(self, model: ModelInfo) -> str:
        """See ``Family.architecture``."""
        return "chroma/lora"
