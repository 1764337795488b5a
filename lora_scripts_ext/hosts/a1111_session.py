"""The session on AUTOMATIC1111's loaded model: it encodes, predicts and draws with the WebUI's own modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, lowvram, processing, sd_hijack
from PIL import Image
from torch import Tensor, nn

from ..adapters.targets import original_unet_targets, text_targets
from ..config import Config
from . import webui
from .base import Conditioning, LatentDistribution, ModelInfo, PreviewRequest, Target
from .open_clip import OpenClipText
from .outline import Outline, outline, unet_blocks
from .text import TextEncoders
from .tokenizer import SHIPPED, Tokenizer

_PREVIEW = "lora-trainer-preview"
_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")


class A1111Session:
    """``shared.sd_model``, frozen and bare; see ``hosts.base.Session``."""

    draws_from_file = True

    def __init__(self, resident: Any, model: ModelInfo, config: Config) -> None:
        self.model = model
        self._resident = resident
        self._config = config
        self._text = self._text_encoders()

    @property
    def cut_captions(self) -> set[str]:
        """The captions encoded so far that were longer than the text encoder reads."""
        return self._text.cut

    def targets(self) -> Iterator[Target]:
        """Every Linear and Conv2d of the UNet and every Linear of the text encoders' layers."""
        yield from original_unet_targets(self._resident.model.diffusion_model, self.model.family)
        for part, text in zip(("te1", "te2"), self._text.models, strict=False):
            yield from text_targets(text, self.model.family, part)

    def blocks(self) -> Iterator[nn.Module]:
        """The UNet's residual and transformer blocks."""
        return unet_blocks(self._resident.model.diffusion_model)

    def outline(self) -> Outline:
        """The model without its numbers, for foretelling a run; may be made while others draw with it."""
        return outline(self.model, self._resident.model.diffusion_model, self._text.models)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """``pixels`` float32 [batch, 3, height, width] in [-1, 1] -> scaled latents, computed in float32."""
        vae = self._resident.first_stage_model
        with self._on_device(vae), _in_float32(vae), torch.autocast(self.model.device.type, enabled=False):
            moments = vae.quant_conv(vae.encoder(pixels.to(self.model.device, torch.float32)))
        mean, log_variance = moments.chunk(2, dim=1)
        # The bounds are those of ldm's and diffusers' DiagonalGaussianDistribution.
        std = torch.exp(0.5 * log_variance.clamp(-30, 20))
        scale = self._resident.scale_factor
        return LatentDistribution(mean * scale, std * scale)

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Context [captions, 77, width] (and SDXL's pooled); differentiable when gradients are enabled."""
        with ExitStack() as stack:
            for module in self._text_modules():
                stack.enter_context(self._on_device(module))
            if lowvram.is_enabled(self._resident):
                self._text = self._text_encoders(self._text.cut)
            stack.enter_context(devices.autocast())
            return self._text.encode(captions, self.model.device)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's raw output, float32 [batch, channels, height, width]."""
        device, dtype = self.model.device, self.model.dtype
        context = conditioning.context.to(device, dtype)
        cond: Any = {"c_crossattn": [context]}
        if self.model.family == "sdxl":
            cond = {"crossattn": context, "vector": self._vector(conditioning).to(dtype)}
        with devices.autocast():
            output = self._resident.apply_model(noisy.to(device, dtype), timesteps.to(device), cond)
        return output.float()

    def release_encoders(self, text: bool) -> None:
        """Nothing to do: without ``--medvram`` the user keeps all on the device, with it the WebUI moves them."""

    def preview(self, request: PreviewRequest, lora: Path | None = None) -> Image.Image:
        """Draw as txt2img would with ``<lora:…:1>`` of the file ``lora`` in the prompt, pixel for pixel."""
        with ExitStack() as stack:
            stack.enter_context(self._user_attention())
            prompt = request.prompt
            if lora is not None:
                stack.enter_context(_listed(self._resident, lora))
                prompt = f"{prompt} <lora:{_PREVIEW}:1>"
            # The WebUI takes eight pixels a latent cell for granted, whatever the VAE.
            per_pixel = 8 / self.model.vae_factor
            job = processing.StableDiffusionProcessingTxt2Img(
                sd_model=self._resident,
                prompt=prompt,
                negative_prompt=request.negative,
                seed=request.seed,
                sampler_name=request.sampler,
                steps=request.steps,
                cfg_scale=request.cfg_scale,
                width=round(request.width * per_pixel),
                height=round(request.height * per_pixel),
                do_not_save_samples=True,
                do_not_save_grid=True,
            )
            stack.callback(job.close)
            return processing.process_images(job).images[0]

    def close(self) -> None:
        """Let go of the model."""
        del self._resident, self._text

    def _vector(self, conditioning: Conditioning) -> Tensor:
        """SDXL's vector: the pooled text, then the sizes, each number as a timestep embedding."""
        embedders = {embedder.input_key: embedder for embedder in self._resident.conditioner.embedders}
        sizes = conditioning.time_ids.to(self.model.device, torch.float32).split(2, dim=1)
        parts = [embedders[key](size) for key, size in zip(_SIZES, sizes, strict=True)]
        return torch.cat([conditioning.pooled.to(self.model.device, torch.float32), *(x.float() for x in parts)], dim=1)

    def _wrapped(self) -> list[Any]:
        """The embedders inside the WebUI's prompt parsers."""
        if self.model.family == "sdxl":
            return [embedder.wrapped for embedder in self._resident.conditioner.embedders[:2]]
        return [self._resident.cond_stage_model.wrapped]

    def _text_modules(self) -> list[nn.Module]:
        return [embedder.model if hasattr(embedder, "model") else embedder.transformer for embedder in self._wrapped()]

    def _text_encoders(self, cut: set[str] | None = None) -> TextEncoders:
        made, tokenizers = [], []
        for embedder in self._wrapped():
            if hasattr(embedder, "model"):
                tower = embedder.model
                made.append(OpenClipText(tower, unused_layers=1 if self.model.family == "sd2" else 0))
                length, vocabulary = len(tower.positional_embedding), tower.token_embedding.wrapped.num_embeddings
                tokenizers.append(Tokenizer.read(SHIPPED, 0, length, vocabulary))
            else:
                made.append(embedder.transformer)
                length = embedder.transformer.config.max_position_embeddings
                tokenizers.append(Tokenizer(embedder.tokenizer, None, length))
        if cut is not None:
            tokenizers[0].cut = cut
        return TextEncoders(made, tokenizers, self.model.family, self._config.clip_skip)

    @contextmanager
    def _on_device(self, module: nn.Module) -> Iterator[None]:
        """With ``--medvram``: ``module`` alone on the device, and on the CPU afterwards."""
        if not lowvram.is_enabled(self._resident):
            yield
            return
        lowvram.send_everything_to_cpu()
        module.to(devices.device)
        try:
            yield
        finally:
            module.to(devices.cpu)

    @contextmanager
    def _user_attention(self) -> Iterator[None]:
        ours = sd_hijack.current_optimizer
        sd_hijack.model_hijack.apply_optimizations()
        try:
            yield
        finally:
            sd_hijack.model_hijack.apply_optimizations(ours.title() if ours is not None else "None")


@contextmanager
def _in_float32(module: nn.Module) -> Iterator[None]:
    """Weights in float32; afterwards the very tensors from before."""
    before = [(parameter, parameter.data) for parameter in module.parameters()]
    try:
        for parameter, data in before:
            parameter.data = data.float()
        yield
    finally:
        for parameter, data in before:
            parameter.data = data


@contextmanager
def _listed(model: nn.Module, lora: Path) -> Iterator[None]:
    """The WebUI knows the file by the name ``_PREVIEW``; afterwards neither its lists nor the weights show a trace."""
    nets = webui.networks()
    untouched = [layer for layer in model.modules() if getattr(layer, "network_weights_backup", None) is None]
    entry = nets.network.NetworkOnDisk(_PREVIEW, str(lora))
    nets.available_networks[_PREVIEW] = nets.available_network_aliases[_PREVIEW] = entry
    try:
        yield
    finally:
        nets.load_networks([])
        with torch.no_grad():
            for layer in model.modules():
                if getattr(layer, "network_current_names", ()):
                    nets.network_apply_weights(layer)
        for layer in untouched:
            if getattr(layer, "network_weights_backup", None) is not None:
                nets.network_reset_cached_weight(layer)
        nets.networks_in_memory.pop(_PREVIEW, None)
        nets.available_networks.pop(_PREVIEW, None)
        nets.available_network_aliases.pop(_PREVIEW, None)
        nets.available_network_hash_lookup.pop(entry.shorthash, None)
