"""The standalone host's session: a loaded model that encodes, predicts and draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ...base_models.parts import Checkpoint
from ...contract import (
    Conditioning,
    DrawRequest,
    Inpainting,
    LatentDistribution,
    ModelInfo,
    PreviewRequest,
    Target,
    named_parts,
)
from ...families.registry import by_name
from ...models.denoisers import DENOISERS
from ...models.text import TextEncoders
from ..canvas import whole_cells
from . import inspection
from .sampler import Kept, make_scheduler, sample, sample_flow

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class StandaloneSession:
    """A frozen model in eval mode; see ``contract.Session``. Its parts wait on the CPU until they are needed."""

    draws_from_file = False
    wider_precision = "set mixed_precision: bf16 or fp32"

    def __init__(
        self, model: ModelInfo, checkpoint: Checkpoint, unet: nn.Module, vae: AutoencoderKL, text: TextEncoders
    ) -> None:
        self.model = model
        self._checkpoint = checkpoint
        self._family = by_name(model.family)
        self._denoiser = DENOISERS[self._family.denoiser]
        self._unet = unet
        self._vae = vae
        self._text = text

    @property
    def cut_captions(self) -> set[str]:
        """The captions encoded so far that were longer than the text encoder reads."""
        return self._text.cut

    @property
    def caption_tokens(self) -> int:
        """As many tokens of a caption are read."""
        return self._text.caption_tokens

    def parts(self) -> dict[str, nn.Module]:
        """Denoiser, VAE and text encoders, by what errors call them."""
        return named_parts(self._unet, self._vae, self._text.models, self._denoiser.title)

    def targets(self) -> Iterator[Target]:
        """The denoiser's layers and, where they can learn, every Linear of the text encoders' layers."""
        return inspection.targets(self._checkpoint, self._unet, self._text.models)

    def outline(self) -> inspection.LoadedInspection:
        """The model without its numbers, for estimating what a step takes."""
        return inspection.outline(self.model, self._checkpoint, self._unet, self._vae, self._text.models)

    def blocks(self) -> Iterator[nn.Module]:
        """The denoiser's repeated blocks: most activations live inside them, few pass between."""
        return self._denoiser.blocks(self._unet)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """``pixels`` float32 [batch, 3, height, width] in [-1, 1] -> scaled latents; sides in multiples of
        ``model.vae_factor``."""
        self._fetch(self._vae)
        posterior = self._vae.encode(pixels.to(self.model.device, torch.float32)).latent_dist
        scale, shift = self._checkpoint.scaling_factor, self._checkpoint.shift_factor
        return LatentDistribution((posterior.mean - shift) * scale, posterior.std * scale)

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Context [captions, tokens, width] (and pooled) in the model's dtype; differentiable when gradients are
        enabled. What exceeds ``caption_tokens`` is cut off."""
        for model in self._text.models:
            self._fetch(model)
        return self._text.encode(captions, self.model.device)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's raw output, float32 [batch, channels, height, width]; computed in the model's dtype.

        Args:
            noisy: latents of that shape.
            timesteps: [batch]; int64 in training, samplers pass fractions too; float32 in 0 to 1 for a flow.
            conditioning: of as many captions; for SDXL with ``pooled`` and ``time_ids``.
        """
        return self._predict(noisy, timesteps, conditioning, self._family.training_guidance)

    def _predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, guidance: float) -> Tensor:
        self._fetch(self._unet)
        device, dtype = self.model.device, self.model.dtype
        pooled, time_ids = conditioning.pooled, conditioning.time_ids
        prepared = Conditioning(
            conditioning.context.to(device, dtype),
            None if pooled is None else pooled.to(device, dtype),
            None if time_ids is None else time_ids.to(device, torch.float32),
        )
        output = self._denoiser.predict(self._unet, noisy.to(device, dtype), timesteps.to(device), prepared, guidance)
        return output.float()

    def release_encoders(self, text: bool) -> None:
        """Move the VAE (and, with ``text``, the text encoders) to the CPU; whoever needs them fetches them back."""
        for model in (self._vae, *(self._text.models if text else ())):
            model.to("cpu")

    @property
    def side_step(self) -> int:
        """The sides of an image that is drawn are multiples of this many pixels."""
        return self.model.vae_factor * self._denoiser.latent_multiple(self._unet)

    def preview(self, request: PreviewRequest, lora: Path | None = None) -> Image.Image:
        """Draw one image with the attached adapter; ``lora`` is not needed. Sides are rounded to what the UNet takes.

        Raises:
            UserError: no such sampler.
        """
        step = self.side_step
        width, height = (max(step, round(side / step) * step) for side in (request.width, request.height))
        drawing = DrawRequest(
            prompt=request.prompt,
            negative=request.negative,
            seeds=(request.seed,),
            width=width,
            height=height,
            steps=request.steps,
            cfg_scale=request.cfg_scale,
            sampler=request.sampler,
        )
        return self.draw_batch(drawing)[0]

    @property
    def denoiser(self) -> nn.Module:
        """The UNet or transformer."""
        return self._unet

    @torch.no_grad()
    def draw_batch(self, request: DrawRequest, guidance: Conditioning | None = None) -> list[Image.Image]:
        """Draw an image for each seed, in one batch, with the adapters that are attached: those of the request's LoRAs
        are not its concern. Sides, and those of what is inpainted, are multiples of ``side_step``. With ``guidance``,
        as :meth:`guidance` gives it, the request's prompts do not count.

        The noise is drawn on the CPU from each seed, so every device draws the same image, and torch's own random state
        is left alone.

        Raises:
            UserError: no such sampler.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in request.seeds]
        factor, channels = self.model.vae_factor, self._denoiser.latent_channels(self._unet)
        shape = (1, channels, request.height // factor, request.width // factor)
        noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        noise = noise.to(self.model.device)
        if self._family.has_flow:
            latents = self._follow_flow(request, noise)
        else:
            latents = self._denoise(request, noise, generators, guidance or self.guidance(request))
        with self._at_hand([self._vae]):
            # One by one: the VAE needs more memory for an image than the denoiser does.
            return [_to_image(self._decode(one)) for one in latents.split(1)]

    def close(self) -> None:
        """Let go of the model."""
        del self._unet, self._vae, self._text

    def guidance(self, request: DrawRequest) -> Conditioning:
        """Conditioning of the negative prompt and the prompt. SDXL was trained to take zeros for an empty negative."""
        with self._at_hand(self._text.models):
            encoded = self.encode_text([request.negative, request.prompt])
        if encoded.pooled is None:
            return encoded
        if not request.negative:
            encoded.context[0] = 0
            encoded.pooled[0] = 0
        width, height = request.width, request.height
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * 2, dtype=torch.float32)
        return Conditioning(encoded.context, encoded.pooled, sizes)

    def _denoise(
        self, request: DrawRequest, noise: Tensor, generators: Sequence[torch.Generator], guidance: Conditioning
    ) -> Tensor:
        """Latents, with classifier-free guidance."""
        scheduler = make_scheduler(request.sampler, self._checkpoint.schedule, self.model.prediction_type)
        kept = None if request.inpainting is None else self._kept(request.inpainting)
        steps, cfg_scale = request.steps, request.cfg_scale
        return sample(self.predict, scheduler, noise, guidance, steps, cfg_scale, generators, kept)

    def _follow_flow(self, request: DrawRequest, noise: Tensor) -> Tensor:
        """Latents of a model that predicts a flow. One that takes its guidance scale as an input has no negative
        prompt."""
        guided = self._family.takes_guidance
        with self._at_hand(self._text.models):
            conditioning = self.encode_text([request.prompt] if guided else [request.negative, request.prompt])
        shift = self._family.timestep_shift(self.model.variant, noise.shape[2] * noise.shape[3])
        predict = partial(self._predict, guidance=request.cfg_scale) if guided else self.predict
        cfg_scale = None if guided else request.cfg_scale
        return sample_flow(predict, request.sampler, noise, conditioning, request.steps, shift, cfg_scale)

    def _kept(self, inpainting: Inpainting) -> Kept:
        """The image and the mask as latents."""
        pixels = torch.from_numpy(np.array(inpainting.image.convert("RGB"))).permute(2, 0, 1)[None]
        with self._at_hand([self._vae]):
            latents = self.encode_images(pixels.float() / 127.5 - 1).mean
        factor = self.model.vae_factor
        cells = np.array(whole_cells(inpainting.mask, factor))[::factor, ::factor] > 0
        return Kept(latents, torch.from_numpy(cells)[None, None].to(latents), inpainting.denoising_strength)

    def _decode(self, latents: Tensor) -> Tensor:
        """[1, channels, height, width] -> pixels [3, height, width] in [-1, 1]."""
        unscaled = latents / self._checkpoint.scaling_factor + self._checkpoint.shift_factor
        return self._vae.decode(unscaled, return_dict=False)[0][0]

    def _fetch(self, model: nn.Module) -> None:
        if next(model.parameters()).device != self.model.device:
            model.to(self.model.device)

    @contextmanager
    def _at_hand(self, models: Sequence[nn.Module]) -> Iterator[None]:
        """These on the device, and back where they were afterwards."""
        devices = [next(model.parameters()).device for model in models]
        try:
            for model in models:
                self._fetch(model)
            yield
        finally:
            for model, device in zip(models, devices, strict=True):
                model.to(device)


def _to_image(pixels: Tensor) -> Image.Image:
    """[3, height, width] in [-1, 1] -> RGB."""
    scaled = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy()))
