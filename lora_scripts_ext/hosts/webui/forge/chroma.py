"""The session on a Chroma model in Neo: Flux's blocks, T5 alone, captions of different lengths in one batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....contract import Conditioning
from ....models.outline import ChromaOutline
from .flux import FluxSession


class ChromaSession(FluxSession):
    """``shared.sd_model`` where that is a Chroma; see ``contract.Session``.

    Rows of zeros in the context are padding, which is not attended to: each caption counts as it would alone.
    """

    _outline = ChromaOutline

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The flow, float32 [batch, channels, height, width]; ``timesteps`` float32 [batch], 1 is noise."""
        device, dtype = self.model.device, self.model.dtype
        self._bring(self._parts.unet)
        context = conditioning.context.to(device, dtype)
        # Of the text, then of the image in patches of 2 x 2.
        patches = noisy.shape[2] * noisy.shape[3] // 4
        mask = F.pad(context.ne(0).any(dim=-1), (0, patches), value=True)[:, None, None]
        output = self._unet(
            noisy.to(device, dtype),
            timesteps.to(device, torch.float32),
            context=context,
            attention_mask=mask,
            transformer_options={},
        )
        return output.float()

    def _guidance(self, scale: float) -> dict[str, Any]:
        return {"cfg_scale": scale, "scheduler": "Simple"}
