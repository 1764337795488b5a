"""One training step: gradients of a batch, then the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import memory
from ..adapters.adapter import Adapter
from ..config import Config
from ..contract import Conditioning, Session
from ..dataset import plan
from ..dataset.plan import Step, Visit
from ..dataset.store import Batch, Store
from ..random_streams import DROPOUT, derive
from . import objective, optimizer, schedule
from .loss_scale import SkippedSteps, make_scaler
from .memory_plan import Fit
from .processes import World
from .state import State


@dataclass(frozen=True)
class _Noised:
    """What the model is to denoise, on the device: float32 [batch, channels, height, width] but for ``timesteps``
    [batch]; ``noisy`` is made of ``latents`` and ``noise``."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    noisy: Tensor


class Stepper:
    """Everything a step needs, put together once.

    Attributes:
        at_once: the most images computed together; None while memory suffices for all.
    """

    def __init__(
        self,
        config: Config,
        session: Session,
        adapter: Adapter,
        store: Store,
        world: World,
        total_steps: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``warn`` is called with each sentence for the user."""
        self.config = config
        self.session = session
        self.adapter = adapter
        self.store = store
        self.world = world
        self.total_steps = total_steps
        self.at_once: int | None = None
        self.device = session.model.device
        self.objective = objective.of(session.model)
        self.optimizer = optimizer.build(config, adapter)
        self.scaler = make_scaler(session.model.device, session.model.dtype)
        self._skipped = SkippedSteps(self.scaler, warn)
        self._warn = warn
        optimizer.start(self.optimizer)

    def step(self, number: int, micros: Step) -> tuple[Tensor, float]:
        """Do step ``number`` (0-based) as a whole; returns its loss and learning rate."""
        return self.backward(number, micros), self.update(number)

    def backward(self, number: int, micros: Step) -> Tensor:
        """Compute the gradients of step ``number`` (0-based). Where memory runs out it is done again with fewer images
        at once.

        Returns:
            The loss, a float32 scalar still on the device. It is the mean over the training images plus
            ``prior_loss_weight`` times the mean over the regularisation images, as in diffusers'
            ``train_dreambooth.py`` (DreamBooth, arXiv 2208.12242, eq. 2), or over what the class prompt has moved away
            from the base model's output.
        """
        loss = None
        while loss is None:
            loss = self._try_gradients(number, micros)
        self.world.sum_(self.adapter.gradients)
        self.world.sum_(loss)
        return loss

    def update(self, number: int) -> float:
        """Move the weights by the gradients of step ``number``; returns the learning rate used."""
        factor = schedule.factor(self.config, number, self.total_steps)
        optimizer.set_rates(self.optimizer, factor)
        self.scaler.unscale_(self.optimizer)
        if self.config.max_grad_norm:
            _clip_norm(self.adapter.gradients, self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._skipped.after_step(number + 1)
        self.adapter.refresh()
        return self.config.learning_rate * factor

    def limit(self, fit: Fit | None) -> None:
        """Compute no more images at once than ``fit`` says, or than was found before."""
        if fit is not None and fit.at_once < fit.largest:
            self.at_once = min(self.at_once or fit.at_once, fit.at_once)

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Resume from a saved state."""
        self.adapter.weights.copy_(state.weights)
        self.adapter.refresh()
        self.optimizer.load_state_dict(state.optimizer)
        # Empty where the run went in another precision before.
        if self.scaler.is_enabled() and state.scaler:
            self.scaler.load_state_dict(state.scaler)
        # Another split of the batch would round differently.
        self.at_once = state.progress.get("at_once")

    def _try_gradients(self, number: int, micros: Step) -> Tensor | None:
        """The step's gradients, and its loss; None where memory ran out and fewer images are to be tried."""
        try:
            return self._gradients(number, micros)
        except memory.ERRORS as error:
            if not memory.ran_out(error) or not self._reduce_group(micros):
                raise
        # Outside of the handler, whose traceback holds on to the activations.
        memory.release(self.device)
        return None

    def _reduce_group(self, micros: Step) -> bool:
        """Halve the number of images computed at once; False where it is one."""
        largest = max(len(micro) for micro in self._share(micros))
        most = min(self.at_once or largest, largest)
        if most < 2:
            return False
        self.at_once = (most + 1) // 2
        self._warn(
            f"Out of memory with {most} images; retrying in groups of {self.at_once}. The effective batch size is "
            "unchanged."
        )
        return True

    def _gradients(self, number: int, micros: Step) -> Tensor:
        self.adapter.zero_grad()
        total = torch.zeros((), device=self.device)
        for micro in self._share(micros):
            most = self.at_once or len(micro)
            for first in range(0, len(micro), most):
                total += self._backward(number, micro[first : first + most])
        return total

    def _share(self, micros: Step) -> Step:
        """What this process computes of a step; may be empty."""
        return plan.share(micros, self.world.rank, self.world.size)

    def _backward(self, number: int, visits: Sequence[Visit]) -> Tensor:
        batch = self.store.batch(visits, self.device)
        noised = self._noised(number, visits, batch)
        with self.adapter.dropping(self._dropout_seeds(number, visits)):
            total = self._add_gradients(self._losses(batch, noised), batch.weight)
            # Not in one pass with the other: the activations of one at a time take half the memory.
            if batch.class_captions:
                weight = batch.weight * self.config.prior_loss_weight
                total += self._add_gradients(self._class_losses(batch, noised), weight)
        return total

    def _add_gradients(self, losses: Tensor, weight: Tensor) -> Tensor:
        """Backward from the sum of ``losses`` times ``weight``, both [batch]; returns it."""
        loss = (losses * weight).sum()
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _dropout_seeds(self, number: int, visits: Sequence[Visit]) -> list[int]:
        if not self.config.lora_dropout:
            return []
        return [derive(self.config.seed, DROPOUT, number, visit.position) for visit in visits]

    def _noised(self, number: int, visits: Sequence[Visit], batch: Batch) -> _Noised:
        sample = objective.draw(
            self.config.seed,
            number,
            [visit.position for visit in visits],
            batch.mean.shape[1:],
            self.objective.sample_timestep,
            self.config.noise_offset,
        )
        timesteps = sample.timesteps.to(self.device, non_blocking=True)
        latents = batch.mean + batch.std * sample.latent.to(self.device, non_blocking=True)
        noise = sample.noise.to(self.device, non_blocking=True)
        return _Noised(latents, noise, timesteps, self.objective.add_noise(latents, noise, timesteps))

    def _losses(self, batch: Batch, noised: _Noised) -> Tensor:
        """The weighted loss of each example, float32 [batch]."""
        config = self.config
        prediction = self._predict(noised, batch.conditioning, batch.captions, batch.time_ids)
        target = self.objective.target(noised.latents, noised.noise, noised.timesteps)
        weight = None
        if batch.mask is not None:
            weight = objective.mask_weight(batch.mask, config.unmasked_weight, config.normalize_masked_area_loss)
        return self._distances(prediction, target, noised.timesteps, weight)

    def _class_losses(self, batch: Batch, noised: _Noised) -> Tensor:
        """How far the adapter moves the class prompt's prediction from the base model's, measured as the loss of each
        example is, but all over the image; float32 [batch]."""
        inputs = (noised, batch.class_conditioning, batch.class_captions, batch.time_ids)
        with torch.no_grad(), self.adapter.suspended():
            base = self._predict(*inputs)
        return self._distances(self._predict(*inputs), base, noised.timesteps, None)

    def _predict(
        self, noised: _Noised, conditioning: Conditioning | None, captions: Sequence[str], time_ids: Tensor | None
    ) -> Tensor:
        """The model's prediction; ``captions`` are encoded where the text encoder is trained."""
        if conditioning is None:
            text = self.session.encode_text(captions)
            conditioning = Conditioning(text.context, text.pooled, time_ids)
        return self.session.predict(noised.noisy, noised.timesteps, conditioning)

    def _distances(self, prediction: Tensor, target: Tensor, timesteps: Tensor, weight: Tensor | None) -> Tensor:
        config = self.config
        losses = objective.per_example_loss(prediction, target, config.loss, config.huber_delta, weight)
        if config.min_snr_gamma:
            losses = losses * self.objective.min_snr_weight(timesteps, config.min_snr_gamma)
        return losses


def _clip_norm(gradients: Tensor, max_norm: float) -> None:
    """Clip the L2 norm of the flat gradient, as ``torch.nn.utils.clip_grad_norm_`` does, without waiting for the
    device."""
    gradients.mul_((max_norm / (gradients.norm() + 1e-6)).clamp(max=1))
