"""Stable Diffusion's UNet, as diffusers' ``UNet2DConditionModel``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..contract import Conditioning, Target
from ..errors import UserError
from ..families.family import Family, Heads
from .denoiser import Denoiser
from .safetensors_file import Shape
from .targets import unet_targets
from .text_states import TOKENS
from .unet import unet_config, unet_sources
from .weights import Source

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

_BLOCKS = ("ResnetBlock2D", "BasicTransformerBlock")


class UNet(Denoiser["UNet2DConditionModel"]):
    """See ``Denoiser``."""

    title = "UNet"
    name = "Stable Diffusion"
    folder = "unet"
    class_name = "UNet2DConditionModel"
    marker = "input_blocks.0.0.weight"

    def config(self, shapes: Mapping[str, Shape], heads: Heads) -> dict[str, Any]:
        """See ``Denoiser.config``."""
        return unet_config(shapes, heads)

    def sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.sources``."""
        return unet_sources(names, config)

    def folder_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Denoiser.folder_config``."""
        return dict(config)

    def folder_sources(self, names: Collection[str], config: Mapping[str, Any]) -> dict[str, Source]:
        """See ``Denoiser.folder_sources``."""
        return {name: Source(name) for name in names}

    def require_trainable(self, path: Path, config: Mapping[str, Any]) -> None:
        """See ``Denoiser.require_trainable``."""
        if config.get("time_cond_proj_dim") is not None:
            raise UserError(
                f"{path}: this is a Latent Consistency Model (LCM), distilled to few steps and no guidance; give the "
                "model that it was distilled from."
            )
        if config.get("in_channels", 4) != 4:
            raise UserError(
                f"{path}: this is an inpainting, depth or editing model ({config['in_channels']} input channels); "
                "give the plain text-to-image version."
            )

    def build(self, config: Mapping[str, Any]) -> UNet2DConditionModel:
        """See ``Denoiser.build``."""
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel.from_config(dict(config))

    def latent_channels(self, module: UNet2DConditionModel) -> int:
        """See ``Denoiser.latent_channels``."""
        return module.config.in_channels

    def latent_multiple(self, module: UNet2DConditionModel) -> int:
        """See ``Denoiser.latent_multiple``."""
        return 2 ** (len(module.config.block_out_channels) - 1)

    def meta_conditioning(
        self, module: UNet2DConditionModel, batch: int, family: Family, dtype: torch.dtype
    ) -> Conditioning:
        """See ``Denoiser.meta_conditioning``."""
        config = module.config

        def empty(*shape: int) -> Tensor:
            return torch.empty(batch, *shape, device="meta", dtype=dtype)

        context = empty(TOKENS, config.cross_attention_dim)
        if not family.has_time_ids:
            return Conditioning(context)
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        return Conditioning(context, empty(pooled), empty(6))

    def predict(
        self,
        module: UNet2DConditionModel,
        noisy: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        guidance: float,
    ) -> Tensor:
        """See ``Denoiser.predict``."""
        added = None
        if conditioning.pooled is not None:
            added = {"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids}
        return module(
            noisy,
            timesteps,
            encoder_hidden_states=conditioning.context,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]

    def targets(self, module: UNet2DConditionModel, family: Family) -> Iterator[Target]:
        """See ``Denoiser.targets``."""
        return unet_targets(module, family.name)

    def blocks(self, module: UNet2DConditionModel) -> Iterator[nn.Module]:
        """See ``Denoiser.blocks``."""
        return (block for block in module.modules() if type(block).__name__ in _BLOCKS)
