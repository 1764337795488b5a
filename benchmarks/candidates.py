"""Ways that might train faster, each as a change of the preset: settings, or replaced parts of the engine.

None of these is in the engine; ``RESULTS.md`` has the result of each. A change is a context: the
engine is as before afterwards. Everything stays a function of (seed, step, position), as in the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from lora_scripts_ext import random_streams
from lora_scripts_ext.dataset import plan
from lora_scripts_ext.training import objective
from lora_scripts_ext.training.objective import Draw
from lora_scripts_ext.training.step import Stepper

Change = Callable[[Stepper], AbstractContextManager[Any]]
Redraw = Callable[[Draw, int, int, Sequence[int], int], Draw]
_STREAM = 100
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Candidate:
    """Settings that differ from the preset's, and a change of the engine."""

    settings: dict[str, Any] = field(default_factory=dict)
    change: Change | None = None


def together(*changes: Change) -> Change:
    """Several changes at once."""

    @contextmanager
    def change(stepper: Stepper) -> Iterator[None]:
        with ExitStack() as stack:
            for one in changes:
                stack.enter_context(one(stepper))
            yield

    return change


def redrawn(redraw: Redraw) -> Change:
    """Replace the noise and timesteps of a step by ``redraw(sample, seed, step, positions, count)``, ``count``
    being the number of examples in the step."""

    @contextmanager
    def change(stepper: Stepper) -> Iterator[None]:
        ordinary, take, count = objective.draw, stepper.step, 0

        def step(number: int, micros: Sequence[Sequence[Any]]) -> Any:
            nonlocal count
            count = sum(len(micro) for micro in micros)
            return take(number, micros)

        def draw(seed: int, number: int, positions: Sequence[int], *rest: Any) -> Draw:
            return redraw(ordinary(seed, number, positions, *rest), seed, number, positions, count)

        with mock.patch.object(objective, "draw", draw), mock.patch.object(stepper, "step", step):
            yield

    return change


def _uniform(*key: int) -> float:
    return torch.rand((), generator=torch.Generator().manual_seed(random_streams.derive(*key))).item()


def _with_timesteps(sample: Draw, shares: Sequence[float]) -> Draw:
    """Timesteps at these shares (0 to 1) of a schedule of 1000."""
    return replace(sample, timesteps=(torch.tensor(shares) % 1 * 1000).long().clamp(max=999))


def stratified(sample: Draw, seed: int, step: int, positions: Sequence[int], count: int) -> Draw:
    """One timestep from each of ``count`` equal stretches of the schedule."""
    shares = [(position + _uniform(seed, _STREAM, step, position)) / count for position in positions]
    return _with_timesteps(sample, shares)


def spread(sample: Draw, seed: int, step: int, positions: Sequence[int], count: int) -> Draw:
    """Timesteps that stay evenly spread over any run of steps, too: multiples of the golden ratio, modulo 1."""
    start = _uniform(seed, _STREAM)
    return _with_timesteps(sample, [start + GOLDEN * (step * count + position) for position in positions])


def antithetic(sample: Draw, seed: int, step: int, positions: Sequence[int], count: int) -> Draw:
    """Neighbours share a noise, with opposite signs."""
    noises = sample.noise.clone()
    for row, position in enumerate(positions):
        generator = torch.Generator().manual_seed(random_streams.derive(seed, _STREAM + 1, step, position // 2))
        noises[row] = torch.randn(noises.shape[1:], generator=generator) * (1 - 2 * (position % 2))
    return replace(sample, noise=noises)


def power_shifted(power: float) -> Redraw:
    """Timesteps sampled more often where there is more noise (power below 1) or less (above)."""

    def redraw(sample: Draw, seed: int, step: int, positions: Sequence[int], count: int) -> Draw:
        return replace(sample, timesteps=((sample.timesteps / 1000) ** power * 1000).long().clamp(max=999))

    return redraw


def stratified_power_shifted(sample: Draw, seed: int, step: int, positions: Sequence[int], count: int) -> Draw:
    """Both: stretches, then more often where there is more noise."""
    return power_shifted(0.7)(stratified(sample, seed, step, positions, count), seed, step, positions, count)


def central(sample: Draw, seed: int, step: int, positions: Sequence[int], count: int) -> Draw:
    """Timesteps logit-normal: the middle of the schedule more often (arXiv 2403.03206, eq. 19)."""
    normal = [_normal(seed, _STREAM + 2, step, position) for position in positions]
    return _with_timesteps(sample, torch.sigmoid(torch.tensor(normal)).tolist())


def _normal(*key: int) -> float:
    return torch.randn((), generator=torch.Generator().manual_seed(random_streams.derive(*key))).item()


def weighted(weight: Callable[[Tensor], Tensor]) -> Change:
    """Weigh timesteps by a function of their signal-to-noise ratio [batch]; wants ``min_snr_gamma`` above 0."""

    def changed(kind: str, alphas_cumprod: Tensor, gamma: float) -> Tensor:
        return weight(alphas_cumprod / (1 - alphas_cumprod))

    return lambda stepper: mock.patch.object(objective, "min_snr_weight", changed)


def debiased(snr: Tensor) -> Tensor:
    """1 / sqrt(SNR) (arXiv 2310.08442), at most 1."""
    return snr.rsqrt().clamp(max=1)


def _rebuilt(stepper: Stepper, optimizer: torch.optim.Optimizer) -> AbstractContextManager[Any]:
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return mock.patch.object(stepper, "optimizer", optimizer)


def lora_plus(ratio: float, lower: float = 1.0) -> Change:
    """LoRA+ (arXiv 2402.12354): ``up`` has ``ratio`` times the learning rate of ``down``, which has ``lower`` times the
    preset's."""

    def change(stepper: Stepper) -> AbstractContextManager[Any]:
        tensors = [one for group in stepper.adapter.tensors().values() for one in group]
        rate = stepper.config.learning_rate * lower
        groups = [{"params": tensors[0::2], "lr": rate}, {"params": tensors[1::2], "lr": rate * ratio}]
        return _rebuilt(stepper, torch.optim.AdamW(groups, weight_decay=stepper.config.weight_decay))

    return change


def muon(rate: float) -> Change:
    """Momentum whose singular values are all made 1 (https://kellerjordan.github.io/posts/muon), matrix by matrix;
    steps as long as AdamW's."""

    def change(stepper: Stepper) -> AbstractContextManager[Any]:
        tensors = [one for group in stepper.adapter.tensors().values() for one in group]
        decay = stepper.config.weight_decay
        return _rebuilt(stepper, torch.optim.Muon(tensors, rate, decay, adjust_lr_fn="match_rms_adamw"))

    return change


def gradients(stepper: Stepper, batches: int) -> dict[str, Tensor]:
    """The mean gradient of each frozen weight over the first batches, [outputs, inputs] (a convolution's flat)."""
    layers = [layer.target for layer in stepper.adapter._layers]
    weights = [target.module.weight for target in layers]
    steps = plan.epoch_steps(stepper.store.examples, stepper.config, 10**6, 1)[:batches]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        with stepper.adapter.suspended():
            for number, micros in enumerate(steps):
                for micro in micros:
                    batch = stepper.store.batch(micro, stepper.device)
                    stepper._losses(batch, stepper._noised(10**6 + number, micro, batch)).mean().backward()
        return {target.key: weight.grad.flatten(1) / len(steps) for target, weight in zip(layers, weights, strict=True)}
    finally:
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None


def informed(batches: int = 8, norm: float = 1.0, ahead: float = 0.0) -> Change:
    """``down`` starts in the directions of the first gradients' largest singular values (after LoRA-GA, arXiv
    2407.05000), as long as the usual start times ``norm``; ``up`` at zero, or where a first step of Adam-like length
    ``ahead`` along that gradient would put it."""

    @contextmanager
    def change(stepper: Stepper) -> Iterator[None]:
        mean_gradients = gradients(stepper, batches)
        with torch.no_grad():
            for layer in stepper.adapter._layers:
                gradient, (down, up) = mean_gradients[layer.target.key], layer.master.weights
                rank = min(stepper.adapter.rank, *gradient.shape)
                left, sizes, right = torch.svd_lowrank(gradient, q=min(rank + 8, *gradient.shape))
                length = norm / math.sqrt(3)
                down.flatten(1)[:rank] = right[:, :rank].T * length
                if ahead:
                    step = -(left[:, :rank] * (sizes[:rank] / sizes[0]))
                    up[:, :rank] = step * ahead / step.square().mean().sqrt()
        stepper.adapter.refresh()
        yield

    return change


def principal(norm: float = 1.0) -> Change:
    """``down`` starts in the directions of the frozen weight's largest singular values (after PiSSA, arXiv 2404.02948,
    but the weight stays whole and ``up`` zero)."""

    @contextmanager
    def change(stepper: Stepper) -> Iterator[None]:
        with torch.no_grad():
            for layer in stepper.adapter._layers:
                weight = layer.target.module.weight.flatten(1)
                rank = min(stepper.adapter.rank, *weight.shape)
                right = torch.svd_lowrank(weight, q=min(rank + 8, *weight.shape))[2]
                layer.master.weights[0].flatten(1)[:rank] = right[:, :rank].T * norm / math.sqrt(3)
        yield

    return change


def averaged(keep: float) -> Change:
    """Deliver a running average of the weights; ``keep`` is what a step leaves of the old average."""

    @contextmanager
    def change(stepper: Stepper) -> Iterator[None]:
        take, weights = stepper.step, stepper.adapter.weights
        mean = weights.detach().clone()

        def step(number: int, micros: Any) -> Any:
            result = take(number, micros)
            mean.lerp_(weights.detach(), 1 - min(keep, (number + 1) / (number + 10)))
            if number + 1 == stepper.total_steps:
                with torch.no_grad():
                    weights.copy_(mean)
            return result

        with mock.patch.object(stepper, "step", step):
            yield

    return change


def _redrawn(redraw: Redraw) -> Candidate:
    return Candidate(change=redrawn(redraw))


ALL: dict[str, Candidate] = {
    "plain": Candidate(),
    "stratified": _redrawn(stratified),
    "spread": _redrawn(spread),
    "antithetic": _redrawn(antithetic),
    "stratified, antithetic": Candidate(change=together(redrawn(stratified), redrawn(antithetic))),
    "more noise": _redrawn(power_shifted(0.7)),
    "less noise": _redrawn(power_shifted(1.4)),
    "middle timesteps": _redrawn(central),
    "no min-snr": Candidate({"min_snr_gamma": 0}),
    "min-snr 1": Candidate({"min_snr_gamma": 1}),
    "debiased": Candidate(change=weighted(debiased)),
    "huber": Candidate({"loss": "huber"}),
    **{f"lora+ {ratio}": Candidate(change=lora_plus(ratio)) for ratio in (2, 4, 8, 16)},
    "lora+ 4, lower": Candidate(change=lora_plus(4, 0.5)),
    "lora+ 16, lower": Candidate(change=lora_plus(16, 0.25)),
    "rank-stabilised": Candidate({"lora_alpha": 64}),
    "scale 2": Candidate({"lora_alpha": 32}),
    "informed": Candidate(change=informed()),
    "informed, longer": Candidate(change=informed(norm=3)),
    "informed, a step ahead": Candidate(change=informed(norm=1, ahead=0.02)),
    "principal": Candidate(change=principal()),
    "prodigy": Candidate({"optimizer": "prodigy", "learning_rate": 1}),
    "schedule-free": Candidate({"optimizer": "schedulefree", "lr_scheduler": "constant"}),
    "schedule-free 0.008": Candidate({"optimizer": "schedulefree", "lr_scheduler": "constant", "learning_rate": 8e-3}),
    **{f"muon {rate:g}": Candidate(change=muon(rate)) for rate in (4e-3, 1e-2)},
    "lion": Candidate({"optimizer": "lion", "learning_rate": 5e-4}),
    "average 0.9": Candidate(change=averaged(0.9)),
    "average 0.9, constant": Candidate({"lr_scheduler": "constant"}, averaged(0.9)),
    "stratified, informed": Candidate(change=together(redrawn(stratified), informed())),
    "stratified, more noise": Candidate(change=redrawn(stratified_power_shifted)),
    **{f"rate {rate:g}": Candidate({"learning_rate": rate}) for rate in (1e-3, 2e-3, 6e-3, 8e-3)},
    "short memory": Candidate({"optimizer_args": {"betas": [0.9, 0.99]}}),
    "warm-up 10": Candidate({"lr_warmup_steps": 10}),
    "no clipping": Candidate({"max_grad_norm": 0}),
    "batch 2": Candidate({"batch_size": 2}),
    "no decay": Candidate({"weight_decay": 0}),
    "no caption dropout": Candidate({"caption_dropout": 0}),
    "linear": Candidate({"lr_scheduler": "linear"}),
    **{name: Candidate({"target": name}) for name in ("attention", "attention-mlp")},
}
