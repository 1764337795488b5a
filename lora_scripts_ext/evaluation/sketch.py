"""Images drawn in a few steps, as latents: enough to see what the model makes of a prompt, the same on every host.

The sampler is DDIM without added noise (arXiv 2010.02502, eq. 12), for a flow Euler's method, with classifier-free
guidance (arXiv 2207.12598). It needs no sampler of the host, no decoding, and takes the adapter as it is attached.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contract import Conditioning, ModelInfo, Session
from ..families.registry import by_name
from ..random_streams import EVALUATION, derive
from .prediction import finished, levels, predicted, repeated, timestep_at


class Sketches:
    """Latents of prompts, each from its own noise: as often as it is called, only the model differs."""

    def __init__(
        self, session: Session, shape: Sequence[int], seed: int, *, steps: int, cfg_scale: float, batch_size: int
    ) -> None:
        """``shape``: of the latents, [channels, height, width]; ``batch_size``: predictions computed at once."""
        self._session = session
        self._shape = tuple(shape)
        self._seed = seed
        self._cfg_scale = 1.0 if by_name(session.model.family).takes_guidance else cfg_scale
        self._batch_size = batch_size
        self._timesteps = timesteps(session.model, steps, shape)

    @torch.no_grad()
    def __call__(self, prompts: Conditioning, empty: Conditioning) -> Tensor:
        """Float32 [prompts, channels, height, width] on the CPU; ``empty`` is the empty prompt's, of one row."""
        model = self._session.model
        noisy = torch.stack([self._noise(row) for row in range(len(prompts.context))])
        for now, after in zip(self._timesteps, [*self._timesteps[1:], None], strict=True):
            prediction = self._predict(noisy, now, prompts)
            if self._cfg_scale != 1:
                plain = self._predict(noisy, now, repeated(empty, len(noisy)))
                prediction = plain + self._cfg_scale * (prediction - plain)
            noisy = _stepped(model, noisy, now, after, prediction)
        return noisy

    def _noise(self, row: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(self._seed, EVALUATION, row))
        return torch.randn(self._shape, generator=generator)

    def _predict(self, noisy: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        return predicted(self._session, noisy, timestep, conditioning, self._batch_size)


def timesteps(model: ModelInfo, steps: int, shape: Sequence[int]) -> list[Tensor]:
    """Evenly spaced, from pure noise on; of a flow shifted as for sampling."""
    even = [(steps - step) / steps for step in range(steps)]
    if model.prediction_type == "flow":
        shift = by_name(model.family).timestep_shift(model.variant, shape[1] * shape[2])
        even = [shift * one / (1 + (shift - 1) * one) for one in even]
    return [timestep_at(model, one) for one in even]


def _stepped(model: ModelInfo, noisy: Tensor, now: Tensor, after: Tensor | None, prediction: Tensor) -> Tensor:
    """The latents at the next timestep; the finished ones where there is none."""
    image = finished(model, noisy, now, prediction)
    if after is None:
        return image
    own, rest = levels(model, now)
    noise = (noisy - own * image) / rest
    next_own, next_rest = levels(model, after)
    return next_own * image + next_rest * noise
