"""One step of training: batches in, the adapter's weights moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import memory
from ..adapters.adapter import Adapter
from ..config import Config
from ..dataset.plan import Micro, Step, Visit
from ..dataset.store import Batch, Store
from ..hosts.base import Conditioning, Session
from . import loss, noise, objective, optimizer, schedule, seeds
from .memory_plan import Fit
from .processes import World

_DROPOUT_STREAM = 2


class Stepper:
    """Everything a step needs, put together once.

    The global random generator is seeded anew for every micro-batch (adapter dropout draws from it); the host gives
    its former state back at the end of the session.

    Attributes:
        at_once: as many pictures are computed together at most; None while the memory is large enough for all.
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
        """``warn`` is told what the user should know."""
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
        self.scaler = _scaler(session.model.device, session.model.dtype)
        self._warn = warn
        optimizer.start(self.optimizer)

    def step(self, number: int, micros: Step) -> tuple[Tensor, float]:
        """Do step ``number`` (0-based). Where memory runs out it is done again with fewer pictures at once.

        Returns:
            The mean loss of the step's examples as a float32 scalar still on the device, and the learning rate used.
        """
        total = None
        while total is None:
            total = self._tried(number, micros)
        self.world.sum_(self.adapter.weights.grad)
        self.world.sum_(total)
        return total, self._update(number)

    def limit(self, fit: Fit | None) -> None:
        """Compute no more images at once than ``fit`` says, or than was found before."""
        if fit is not None and fit.at_once < fit.largest:
            self.at_once = min(self.at_once or fit.at_once, fit.at_once)

    @torch.no_grad()
    def restore(self, weights: Tensor, optimizer_state: dict[str, Any], scaler_state: dict[str, Any]) -> None:
        """Go on from the saved weights (float32 [parameters]) and the states of the optimizer and the loss scaler."""
        self.adapter.weights.copy_(weights)
        self.adapter.refresh()
        self.optimizer.load_state_dict(optimizer_state)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler_state)

    def _tried(self, number: int, micros: Step) -> Tensor | None:
        """The step's gradients, and its loss; None where memory ran out and the next try takes fewer pictures."""
        try:
            return self._gradients(number, micros)
        except memory.ERRORS as error:
            if not memory.ran_out(error) or not self._take_fewer(micros):
                raise
        # Outside of the handler, whose traceback holds on to the activations.
        memory.release(self.device)
        return None

    def _take_fewer(self, micros: Step) -> bool:
        """Halve the number of pictures computed at once; False where it is one."""
        largest = max(len(self._share(micro)) for micro in micros)
        most = min(self.at_once or largest, largest)
        if most < 2:
            return False
        self.at_once = (most + 1) // 2
        self._warn(
            f"The memory is too small for {most} pictures at once; going on with {self.at_once}. They still count "
            "together as one batch: it takes longer, the result stays the same."
        )
        return True

    def _gradients(self, number: int, micros: Step) -> Tensor:
        self.adapter.zero_grad()
        count = sum(len(micro) for micro in micros)
        total = torch.zeros((), device=self.device)
        for index, micro in enumerate(micros):
            share = self._share(micro)
            torch.manual_seed(seeds.derive(self.config.seed, _DROPOUT_STREAM, number, index, self.world.rank))
            most = self.at_once or max(1, len(share))
            for first in range(0, len(share), most):
                total += self._backward(number, share[first : first + most], count)
        return total

    def _share(self, micro: Micro) -> Micro:
        """What this process computes of a micro-batch; may be empty."""
        return micro[self.world.rank :: self.world.size]

    def _backward(self, number: int, visits: Sequence[Visit], count: int) -> Tensor:
        batch = self.store.batch(visits, self.device)
        errors = self._errors(number, visits, batch)
        mean = (errors * batch.weight).sum() / count
        self.scaler.scale(mean).backward()
        return mean.detach()

    def _errors(self, number: int, visits: Sequence[Visit], batch: Batch) -> Tensor:
        """The weighted loss of each example, float32 [batch]."""
        config = self.config
        drawn = noise.draw(
            config.seed,
            number,
            [visit.position for visit in visits],
            batch.mean.shape[1:],
            self.objective.timestep,
            config.noise_offset,
        )
        timesteps = drawn.timesteps.to(self.device, non_blocking=True)
        latents = batch.mean + batch.std * drawn.latent.to(self.device, non_blocking=True)
        noises = drawn.noise.to(self.device, non_blocking=True)
        noisy = self.objective.noisy(latents, noises, timesteps)
        prediction = self.session.predict(noisy, timesteps, self._told(batch))
        answer = self.objective.answer(latents, noises, timesteps)
        errors = loss.per_example(prediction, answer, config.loss, config.huber_delta, batch.mask)
        if config.min_snr_gamma:
            errors = errors * self.objective.min_snr_weight(timesteps, config.min_snr_gamma)
        return errors

    def _told(self, batch: Batch) -> Conditioning:
        if not self.config.train_text_encoder:
            return batch.conditioning
        text = self.session.encode_text(batch.captions)
        return Conditioning(text.context, text.pooled, batch.time_ids)

    def _update(self, number: int) -> float:
        factor = schedule.factor(self.config, number, self.total_steps)
        optimizer.set_rates(self.optimizer, factor)
        self.scaler.unscale_(self.optimizer)
        if self.config.max_grad_norm:
            _shorten(self.adapter.weights.grad, self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.adapter.refresh()
        return self.config.learning_rate * factor


def _shorten(gradients: Tensor, longest: float) -> None:
    """Scale the flat gradient to at most ``longest`` in L2 norm, without waiting for the device."""
    gradients.mul_((longest / (gradients.norm() + 1e-6)).clamp(max=1))


def _scaler(device: torch.device, dtype: torch.dtype) -> Any:
    """A loss scaler for fp16, switched off for everything else."""
    enabled = dtype == torch.float16
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled and device.type == "cuda")
