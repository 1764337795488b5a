"""What a caption makes of pure noise: the measures of memorisation that need no image to be drawn.

A memorised caption pulls harder (Wen et al., arXiv 2407.21720: the norm of the conditional minus the unconditional
prediction) and, where the model takes the noise for an almost finished image, along the unconditional prediction
(Asthana and Belagiannis, arXiv 2601.20642: their cosine); both are computed on noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contract import Conditioning, Session
from ..random_streams import EVALUATION, derive
from .prediction import finished, predicted, timestep_at

# The third last of 50 sampling steps, as in the paper's code.
_LOW_NOISE = 0.04


@dataclass(frozen=True)
class Guidance:
    """What each caption does to pure noise, float32 [captions] on the CPU.

    Attributes:
        norm: root mean square of conditional minus unconditional prediction, at the schedule's noisiest timestep.
        alignment: cosine of that difference and the unconditional prediction over the channels of a latent cell, mean
            over the cells, at a timestep with little noise.
        images: what the prediction takes the noise for, x_0; [captions, channels, height, width].
    """

    norm: Tensor
    alignment: Tensor
    images: Tensor


class PureNoise:
    """Fixed noise, the same for every caption: as often as it is called, only the model differs."""

    def __init__(self, session: Session, shape: Sequence[int], seed: int, batch_size: int) -> None:
        """``shape``: of the latents, [channels, height, width]; ``batch_size``: captions computed at once."""
        self._session = session
        generator = torch.Generator().manual_seed(derive(seed, EVALUATION))
        self._noise = torch.randn(tuple(shape), generator=generator)
        self._batch_size = batch_size

    @torch.no_grad()
    def __call__(self, captions: Conditioning, empty: Conditioning) -> Guidance:
        """The guidance of ``captions`` with the model as it is now; ``empty`` is the empty caption's, of one row."""
        high, low = timestep_at(self._session.model, 1.0), timestep_at(self._session.model, _LOW_NOISE)
        plain_high, plain_low = self._predict(high, empty), self._predict(low, empty)
        conditional = self._predict(high, captions)
        pull = conditional - plain_high
        low_pull = self._predict(low, captions) - plain_low
        alignment = F.cosine_similarity(plain_low.expand_as(low_pull), low_pull, dim=1).mean((1, 2))
        images = finished(self._session.model, self._noise[None], high, conditional)
        return Guidance(pull.square().mean((1, 2, 3)).sqrt(), alignment, images)

    def _predict(self, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Predictions from the noise, float32 [captions, channels, height, width] on the CPU."""
        noise = self._noise.expand(len(conditioning.context), *self._noise.shape)
        return predicted(self._session, noise, timestep, conditioning, self._batch_size)
