"""A session on the model that a WebUI has loaded: what the WebUIs have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import processing
from PIL import Image
from torch import Tensor, nn

from ...contract import (
    TEXT_PARTS,
    Conditioning,
    LatentDistribution,
    ModelInfo,
    PreviewRequest,
    Target,
    named_parts,
)
from ...models.outline import OriginalOutline, outline, unet_blocks
from ...models.targets import original_unet_targets, text_targets
from ...models.text import TextEncoders
from . import shared_state


class WebUISession(ABC):
    """The resident model, frozen and bare; see ``contract.Session``. It is drawn with as txt2img draws."""

    draws_from_file = True
    wider_precision = "start the WebUI with --no-half"

    def __init__(self, resident: Any, model: ModelInfo, unet: nn.Module, vae: nn.Module, text: TextEncoders) -> None:
        self.model = model
        self._resident = resident
        self._unet = unet
        self._vae = vae
        self._text = text

    @property
    def cut_captions(self) -> set[str]:
        """The captions encoded so far that were longer than the text encoder reads."""
        return self._text.cut

    @property
    def caption_tokens(self) -> int:
        """The number of tokens of a caption that are read."""
        return self._text.caption_tokens

    def parts(self) -> dict[str, nn.Module]:
        """UNet, VAE and text encoders, by what errors call them."""
        return named_parts(self._unet, self._vae, self._text.models)

    def targets(self) -> Iterator[Target]:
        """Every Linear and Conv2d of the UNet and every Linear of the text encoders' layers."""
        yield from original_unet_targets(self._unet, self.model.family)
        for part, text in zip(TEXT_PARTS, self._text.models, strict=False):
            yield from text_targets(text, self.model.family, part)

    def blocks(self) -> Iterator[nn.Module]:
        """The UNet's residual and transformer blocks."""
        return unet_blocks(self._unet)

    def outline(self) -> OriginalOutline:
        """The model on the meta device, for estimating a run; may be called while others generate with the model."""
        return outline(self.model, self._unet, self._text.models)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """``pixels`` float32 [batch, 3, height, width] in [-1, 1] -> scaled latents, computed in float32."""
        vae = self._vae
        with self._at_hand(vae), in_float32(vae), torch.autocast(self.model.device.type, enabled=False):
            moments = vae.get_submodule("encoder")(pixels.to(self.model.device, torch.float32))
            # Flux's VAE has none.
            quant_conv = vae._modules.get("quant_conv")
            moments = moments if quant_conv is None else quant_conv(moments)
        mean, log_variance = moments.chunk(2, dim=1)
        # The bounds are those of ldm's and diffusers' DiagonalGaussianDistribution.
        std = torch.exp(0.5 * log_variance.clamp(-30, 20))
        return LatentDistribution((mean - self._latent_shift()) * self._latent_scale(), std * self._latent_scale())

    @abstractmethod
    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Context [captions, 77, width] (and SDXL's pooled); differentiable when gradients are enabled."""

    @abstractmethod
    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's raw output, float32 [batch, channels, height, width]."""

    @abstractmethod
    def release_encoders(self, text: bool) -> None:
        """The VAE (and, with ``text``, the text encoders) are not needed for a while."""

    def preview(self, request: PreviewRequest, lora: Path | None = None) -> Image.Image:
        """Draw as txt2img would with ``<lora:…>`` of the file ``lora`` in the prompt, pixel for pixel."""
        with self._drawing(lora):
            prompt = (
                request.prompt
                if lora is None
                else f"{request.prompt} <lora:{shared_state.PREVIEW}:{request.strength:g}>"
            )
            # The WebUIs take eight pixels a latent cell for granted, whatever the VAE.
            per_pixel = 8 / self.model.vae_factor
            job = processing.StableDiffusionProcessingTxt2Img(
                sd_model=self._resident,
                prompt=prompt,
                negative_prompt=request.negative,
                seed=request.seed,
                sampler_name=request.sampler,
                steps=request.steps,
                **self._guidance(request.cfg_scale),
                width=round(request.width * per_pixel),
                height=round(request.height * per_pixel),
                do_not_save_samples=True,
                do_not_save_grid=True,
            )
            try:
                return processing.process_images(job).images[0]
            finally:
                job.close()

    def close(self) -> None:
        """Let go of the model."""
        del self._resident, self._unet, self._vae, self._text

    def _guidance(self, scale: float) -> dict[str, Any]:
        """The arguments of txt2img for this guidance scale."""
        return {"cfg_scale": scale}

    @abstractmethod
    def _latent_scale(self) -> float:
        """The VAE's scaling factor."""

    def _latent_shift(self) -> float:
        """The VAE's shift factor."""
        return 0.0

    @abstractmethod
    def _at_hand(self, module: nn.Module) -> AbstractContextManager[None]:
        """The VAE or a text encoder on the device."""

    @abstractmethod
    def _drawing(self, lora: Path | None) -> AbstractContextManager[None]:
        """The WebUI can generate with the model in its own way, and lists ``lora`` as ``shared_state.PREVIEW``."""


@contextmanager
def in_float32(module: nn.Module) -> Iterator[None]:
    """Weights in float32; afterwards the very tensors from before."""
    before = [(parameter, parameter.data) for parameter in module.parameters()]
    try:
        for parameter, data in before:
            parameter.data = data.float()
        yield
    finally:
        for parameter, data in before:
            parameter.data = data
