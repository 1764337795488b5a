"""One training step: gradients of a batch, then the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
            ``train_dreambooth.py`` (DreamBooth, arXiv 2208.12242, eq. 2).
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
        with self.adapter.dropping(self._dropout_seeds(number, visits)):
            loss = (self._losses(number, visits, batch) * batch.weight).sum()
            self.scaler.scale(loss).backward()
        return loss.detach()

    def _dropout_seeds(self, number: int, visits: Sequence[Visit]) -> list[int]:
        if not self.config.lora_dropout:
            return []
        return [derive(self.config.seed, DROPOUT, number, visit.position) for visit in visits]

    def _losses(self, number: int, visits: Sequence[Visit], batch: Batch) -> Tensor:
        """The weighted loss of each example, float32 [batch]."""
        config = self.config
        sample = objective.draw(
            config.seed,
            number,
            [visit.position for visit in visits],
            batch.mean.shape[1:],
            self.objective.sample_timestep,
            config.noise_offset,
        )
        timesteps = sample.timesteps.to(self.device, non_blocking=True)
        latents = batch.mean + batch.std * sample.latent.to(self.device, non_blocking=True)
        noise = sample.noise.to(self.device, non_blocking=True)
        noisy = self.objective.add_noise(latents, noise, timesteps)
        prediction = self.session.predict(noisy, timesteps, self._conditioning(batch))
        target = self.objective.target(latents, noise, timesteps)
        weight = None
        if batch.mask is not None:
            weight = objective.mask_weight(batch.mask, config.unmasked_weight, config.normalize_masked_area_loss)
        losses = objective.per_example_loss(prediction, target, config.loss, config.huber_delta, weight)
        if config.min_snr_gamma:
            losses = losses * self.objective.min_snr_weight(timesteps, config.min_snr_gamma)
        return losses

    def _conditioning(self, batch: Batch) -> Conditioning:
        if batch.conditioning is not None:
            return batch.conditioning
        text = self.session.encode_text(batch.captions)
        return Conditioning(text.context, text.pooled, batch.time_ids)


def _clip_norm(gradients: Tensor, max_norm: float) -> None:
    """Clip the L2 norm of the flat gradient, as ``torch.nn.utils.clip_grad_norm_`` does, without waiting for the
    device."""
    gradients.mul_((max_norm / (gradients.norm() + 1e-6)).clamp(max=1))
