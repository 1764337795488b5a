"""Noise, targets, weights and schedules against the papers' formulas and diffusers."""

import math

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.optimization import get_scheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.training_utils import compute_snr

from lora_scripts_ext import config as configs
from lora_scripts_ext import random_streams
from lora_scripts_ext.contract import ModelInfo
from lora_scripts_ext.training import objective, schedule

SCHEDULER = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
TIMESTEPS = torch.tensor([0, 10, 250, 500, 750, 998, 999])
SIGNAL = SCHEDULER.alphas_cumprod[TIMESTEPS]


def make(**values):
    return configs.from_dict({"train_data_dir": "a", "base_model": "b", "output_dir": "c", **values})


def model(prediction_type: str, variant: str = "") -> ModelInfo:
    return ModelInfo(
        family="sd1" if prediction_type != "flow" else "flux",
        prediction_type=prediction_type,
        zero_terminal_snr=False,
        alphas_cumprod=SCHEDULER.alphas_cumprod,
        name="",
        hash="",
        vae_factor=8,
        resolution=512,
        device=torch.device("cpu"),
        dtype=torch.float32,
        variant=variant,
    )


STEPS = objective.of(model("epsilon")).sample_timestep


def latents(seed: int) -> torch.Tensor:
    return torch.randn(len(TIMESTEPS), 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_noising_and_targets_are_the_schedulers():
    x, eps = latents(1), latents(2)
    torch.testing.assert_close(objective.add_noise(x, eps, SIGNAL), SCHEDULER.add_noise(x, eps, TIMESTEPS))
    torch.testing.assert_close(
        objective.diffusion_target("v_prediction", x, eps, SIGNAL), SCHEDULER.get_velocity(x, eps, TIMESTEPS)
    )
    assert objective.diffusion_target("epsilon", x, eps, SIGNAL) is eps


def test_a_flow_is_the_schedulers():
    scheduler, flow = FlowMatchEulerDiscreteScheduler(), objective.of(model("flow", "dev"))
    x, eps = latents(1), latents(2)
    sigmas = scheduler.sigmas[: len(TIMESTEPS)]
    noisy = flow.add_noise(x, eps, sigmas)
    torch.testing.assert_close(noisy, scheduler.scale_noise(x, scheduler.timesteps[: len(TIMESTEPS)], eps))
    # A whole step along the target goes from the noise to the image.
    scheduler.set_timesteps(1)
    denoised = scheduler.step(flow.target(x, eps, sigmas), scheduler.timesteps[0], eps).prev_sample
    torch.testing.assert_close(denoised, x, atol=1e-5, rtol=1e-5)
    assert flow.min_snr_weight(sigmas, 5.0).tolist() == [1.0] * len(sigmas)


@pytest.mark.parametrize(("variant", "side"), [("dev", 64), ("dev", 128), ("schnell", 128)])
def test_a_flows_timesteps_are_logit_normal_and_shifted_as_the_pipeline_draws(variant, side):
    flow = objective.of(model("flow", variant))
    timesteps = objective.draw(3, 0, range(2000), (1, side, side), flow.sample_timestep, 0.0).timesteps
    middles = torch.sigmoid(torch.distributions.Normal(0, 1).icdf(torch.tensor([0.1, 0.5, 0.9])))
    mu = calculate_shift((side // 2) ** 2)
    expected = FlowMatchEulerDiscreteScheduler().time_shift(mu, 1.0, middles) if variant == "dev" else middles
    torch.testing.assert_close(timesteps.quantile(torch.tensor([0.1, 0.5, 0.9])), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_min_snr_weights_are_the_papers(gamma):
    snr = compute_snr(SCHEDULER, TIMESTEPS)
    least = torch.minimum(snr, torch.full_like(snr, gamma))
    torch.testing.assert_close(objective.min_snr_weight("epsilon", SIGNAL, gamma), least / snr, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        objective.min_snr_weight("v_prediction", SIGNAL, gamma), least / (snr + 1), rtol=1e-4, atol=1e-6
    )


def test_min_snr_stands_zero_terminal_snr():
    weights = objective.min_snr_weight("v_prediction", torch.tensor([0.0, 0.5]), 5.0)
    assert weights.tolist() == [0.0, 0.5]
    assert objective.min_snr_weight("epsilon", torch.tensor([0.0]), 5.0).tolist() == [1.0]


def test_losses_by_hand():
    prediction, target = torch.zeros(2, 1, 1, 2), torch.tensor([[[[0.5, 2.0]]], [[[0.0, 1.0]]]])
    squares = objective.per_example_loss(prediction, target, "l2", 0.1, None)
    torch.testing.assert_close(squares, torch.tensor([(0.25 + 4) / 2, 0.5]))
    # Huber (1964): d²/2 inside delta, delta·(|d| - delta/2) outside.
    huber = objective.per_example_loss(prediction, target, "huber", 1.0, None)
    torch.testing.assert_close(huber, torch.tensor([(0.125 + 1.5) / 2, 0.25]))
    mask = torch.tensor([[[[1.0, 0.0]]], [[[0.5, 0.5]]]])
    masked = objective.per_example_loss(prediction, target, "l2", 0.1, mask)
    torch.testing.assert_close(masked, torch.tensor([0.125, 0.25]))


def onetrainers(losses, mask, unmasked_weight, normalize_masked_area_loss):
    """OneTrainer's modules/util/loss/masked_loss.py, written out."""
    clamped_mask = torch.clamp(mask, unmasked_weight, 1)
    losses = losses * clamped_mask
    if normalize_masked_area_loss:
        losses = losses / clamped_mask.mean(dim=(1, 2, 3), keepdim=True)
    return losses.mean(dim=(1, 2, 3))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("unmasked", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["l2", "huber"])
def test_a_masked_loss_is_onetrainers(normalize, unmasked, kind):
    mask = torch.rand(len(TIMESTEPS), 1, 8, 8, generator=torch.Generator().manual_seed(4))
    mask[mask < 0.4] = 0
    mask[1] = 1
    prediction, target = latents(1), latents(2)
    if kind == "l2":
        errors = (prediction - target) ** 2
    else:
        errors = torch.nn.functional.huber_loss(prediction, target, reduction="none", delta=0.1)
    weight = objective.mask_weight(mask, unmasked, normalize)
    ours = objective.per_example_loss(prediction, target, kind, 0.1, weight)
    torch.testing.assert_close(ours, onetrainers(errors, mask, unmasked, normalize))
    torch.testing.assert_close(ours[1], errors[1].mean())


def test_with_normalisation_a_small_mask_counts_as_much_as_a_large_one():
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 0, 0], mask[1, 0, :4] = 1 / 255, 1
    prediction, target = torch.full((2, 4, 8, 8), 3.0), torch.zeros(2, 4, 8, 8)
    errors = objective.per_example_loss(prediction, target, "l2", 0.1, objective.mask_weight(mask, 0.0, True))
    torch.testing.assert_close(errors, torch.tensor([9.0, 9.0]))


@pytest.mark.parametrize(("unmasked", "expected"), [(0.0, 0.0), (0.1, 9.0)])
def test_a_black_mask_divides_by_nothing(unmasked, expected):
    prediction = torch.full((1, 4, 8, 8), 3.0, requires_grad=True)
    weight = objective.mask_weight(torch.zeros(1, 1, 8, 8), unmasked, True)
    errors = objective.per_example_loss(prediction, torch.zeros(1, 4, 8, 8), "l2", 0.1, weight)
    errors.sum().backward()
    torch.testing.assert_close(errors.detach(), torch.tensor([expected]))
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_schedules_are_diffusers(name, warmup):
    config = make(lr_scheduler=name, lr_warmup_steps=warmup, lr_cycles=3, lr_power=2.0, learning_rate=1.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    known_as = "constant_with_warmup" if name == "constant" else name
    # diffusers counts half waves for plain cosine, and its polynomial ends at 1e-7.
    cycles = 3 if name == "cosine_with_restarts" else 1
    extra = {} if name == "cosine" else {"num_cycles": cycles, "power": 2.0}
    theirs = get_scheduler(known_as, optimizer, num_warmup_steps=warmup, num_training_steps=50, **extra)
    for step in range(50):
        ours = schedule.factor(config, step, 50)
        assert math.isclose(ours, theirs.get_last_lr()[0], abs_tol=2e-7), (step, ours)
        optimizer.step()
        theirs.step()


def test_draws_depend_on_the_position_only():
    batch = objective.draw(7, 3, [0, 1, 2, 3], (4, 8, 8), STEPS, 0.1)
    for positions in ([0, 2], [1, 3], [3]):
        part = objective.draw(7, 3, positions, (4, 8, 8), STEPS, 0.1)
        for name in ("latent", "noise", "timesteps"):
            assert torch.equal(getattr(part, name), getattr(batch, name)[positions])
    assert not torch.equal(objective.draw(7, 4, [0], (4, 8, 8), STEPS, 0.1).noise, batch.noise[:1])
    assert not torch.equal(objective.draw(8, 3, [0], (4, 8, 8), STEPS, 0.1).noise, batch.noise[:1])


def test_draws_are_normal_uniform_and_offset():
    many = objective.draw(1, 0, range(3000), (4, 4, 4), STEPS, 0.0)
    assert abs(many.noise.mean().item()) < 0.01
    assert abs(many.noise.std().item() - 1) < 0.01
    assert abs((many.noise * many.latent).mean().item()) < 0.01
    assert many.timesteps.min() < 5
    assert many.timesteps.max() > 994
    assert abs(many.timesteps.float().mean().item() - 499.5) < 20
    shifted = objective.draw(1, 0, range(3000), (4, 4, 4), STEPS, 0.5)
    channel_means = shifted.noise.mean(dim=(2, 3))
    # The mean of 16 normals has variance 1/16; the offset adds 0.5².
    assert abs(channel_means.var().item() - (1 / 16 + 0.25)) < 0.02


def test_seeds_differ_by_key_and_fit_a_generator():
    seeds = {
        random_streams.derive(1, stream, step, position)
        for stream in range(3)
        for step in range(20)
        for position in range(9)
    }
    assert len(seeds) == 3 * 20 * 9
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert random_streams.derive(42, 1, 2, 3) == random_streams.derive(42, 1, 2, 3)
