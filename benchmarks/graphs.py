"""Our step on a CUDA card, its forward and backward recorded once as a CUDA graph and replayed.

A graph per bucket: the dataset here has one. Ready to be measured; before anything is timed the replayed gradient is
compared with the eager one of the same batch.
"""

from __future__ import annotations

import torch

from benchmarks import ways
from benchmarks.ways import Way
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.dataset import plan
from lora_scripts_ext.dataset.store import Batch, Store
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import objective, optimizer
from lora_scripts_ext.training.step import Stepper

_WARM_UP = 3
# Half precision rounds differently where kernels are chosen again; a wrong graph is off by far more.
_MOST_OFF = 0.02


class Graphed:
    """A recorded step: ``step(number)`` copies the batch in, replays, and steps the optimizer."""

    def __init__(self, session: StandaloneSession, store: Store, config: Config, stepper: Stepper) -> None:
        """Record and check; the adapter must be attached.

        Raises:
            SystemExit: the replayed gradient is not the eager one.
        """
        self._session, self._store, self._config, self._stepper = session, store, config, stepper
        self._micros = plan.epoch_steps(store.examples, config, 0, 1)
        self._inputs = self._draw(0)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._compute()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._compute()
        self._check()

    def step(self, number: int) -> None:
        """One step of the optimizer."""
        self._load(number)
        self._graph.replay()
        self._stepper.scaler.unscale_(self._stepper.optimizer)
        torch.nn.utils.clip_grad_norm_([self._stepper.adapter.weights], self._config.max_grad_norm)
        optimizer.set_rates(self._stepper.optimizer, 1.0)
        self._stepper.scaler.step(self._stepper.optimizer)
        self._stepper.scaler.update()
        self._stepper.adapter.refresh()

    def _draw(self, number: int) -> list[torch.Tensor]:
        """Noisy latents, target, timesteps, and the conditioning's tensors."""
        visits = self._micros[number % len(self._micros)][0]
        batch: Batch = self._store.batch(visits, self._session.model.device)
        positions, device = [visit.position for visit in visits], self._session.model.device
        shape, sample_timestep = batch.mean.shape[1:], self._stepper.objective.sample_timestep
        sample = objective.draw(self._config.seed, number, positions, shape, sample_timestep, self._config.noise_offset)
        timesteps, noises = sample.timesteps.to(device), sample.noise.to(device)
        latents = batch.mean + batch.std * sample.latent.to(device)
        inputs = batch.conditioning
        conditioning = [one for one in (inputs.context, inputs.pooled, inputs.time_ids) if one is not None]
        return [self._stepper.objective.add_noise(latents, noises, timesteps), noises, timesteps, *conditioning]

    def _load(self, number: int) -> None:
        for held, new in zip(self._inputs, self._draw(number), strict=True):
            held.copy_(new)

    def _compute(self) -> None:
        noisy, target, timesteps, *inputs = self._inputs
        self._stepper.adapter.zero_grad()
        prediction = self._session.predict(noisy, timesteps, Conditioning(*inputs))
        self._stepper.scaler.scale((prediction - target).square().mean()).backward()

    def _check(self) -> None:
        self._load(1)
        self._compute()
        eager = self._stepper.adapter.weights.grad.clone()
        self._graph.replay()
        off = float((self._stepper.adapter.weights.grad - eager).norm() / eager.norm())
        if not off < _MOST_OFF:
            raise SystemExit(f"The recorded step's gradient is off by {off:.3g} of the eager one's.")


def graphed(session: StandaloneSession, store: Store, config: Config) -> Way:
    """Our step from a graph, on a CUDA card."""
    stepper, _, on = ways.stepping(session, store, config)
    with on():
        recorded = Graphed(session, store, config, stepper)
    return Way(on, recorded.step)
