"""The session on a Flux model in Forge or Neo: a transformer for a UNet, T5 beside CLIP, a flow as prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import torch
from backend.nn import flux
from torch import Tensor

from ....contract import Conditioning, Target
from ....families.registry import by_name
from ....models.outline import FluxOutline, flux_outline
from ....models.targets import flux_targets
from .session import ForgeSession
from .webuis import WEBUI
from .weights import patch_blocks


class FluxSession(ForgeSession):
    """``shared.sd_model`` where that is a Flux; see ``contract.Session``."""

    _network = flux
    _outline: type[FluxOutline] = FluxOutline
    # By the name in its module, which is another function during a run.
    _forwards = WEBUI.forwards(lambda *heads, **options: flux.attention(*heads, **options))

    def targets(self) -> Iterator[Target]:
        """Every Linear of the double and single blocks; the text encoders stay as they are."""
        return flux_targets(self._unet)

    def outline(self) -> FluxOutline:
        """The model on the meta device, for estimating a run; may be called while others generate with the model."""
        model = flux_outline(self.model, self._unet, self._text.models, self._outline)
        # A run has functions of its own; others may be drawing with the WebUI's, and with references in Neo.
        attend = _relinked(flux.attention, **WEBUI.functions())
        for block in model.blocks():
            block.forward = MethodType(_relinked(type(block).forward, attention=attend), block)
        patch_blocks(model.unet, WEBUI.forwards(attend))
        forward = _relinked(type(model.unet).forward, dynamic_args=SimpleNamespace(ref_latents=[]))
        model.unet.forward = MethodType(forward, model.unet)
        return model

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The flow, float32 [batch, channels, height, width]; ``timesteps`` float32 [batch], 1 is noise."""
        device, dtype = self.model.device, self.model.dtype
        self._bring(self._parts.unet)
        pooled = conditioning.pooled
        output = self._unet(
            noisy.to(device, dtype),
            timesteps.to(device, torch.float32),
            context=conditioning.context.to(device, dtype),
            y=None if pooled is None else pooled.to(device, dtype),
            guidance=torch.full(
                (len(noisy),), by_name(self.model.family).training_guidance, device=device, dtype=dtype
            ),
            transformer_options={},
        )
        return output.float()

    def _guidance(self, scale: float) -> dict[str, Any]:
        return {"cfg_scale": 1.0, "distilled_cfg_scale": scale, "scheduler": "Simple"}


def _relinked(function: Callable[..., Any], **names: object) -> Callable[..., Any]:
    """``function`` for which some names of its module stand for something else."""
    return FunctionType(function.__code__, {**function.__globals__, **names}, argdefs=function.__defaults__)
