"""The measures of copying and of falling apart, against their formulas."""

import numpy as np
import pytest
import torch
from PIL import Image

from lora_scripts_ext.contract import Conditioning, LatentDistribution, ModelInfo
from lora_scripts_ext.evaluation import latents, perceptual_hash
from lora_scripts_ext.evaluation.prediction import finished, timestep_at
from lora_scripts_ext.evaluation.pure_noise import PureNoise
from lora_scripts_ext.evaluation.sketch import Sketches
from lora_scripts_ext.training import objective

SHAPE = (4, 6, 8)


def model(prediction_type="epsilon"):
    alphas_cumprod = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    return ModelInfo(
        family="flux" if prediction_type == "flow" else "sd1",
        prediction_type=prediction_type,
        zero_terminal_snr=False,
        alphas_cumprod=torch.empty(0) if prediction_type == "flow" else alphas_cumprod,
        name="model",
        hash="",
        vae_factor=2,
        resolution=16,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


class Knowing:
    """A model that knows by heart which image belongs to each context, or what it predicts at each."""

    def __init__(self, info, images=None, predictions=None):
        self.model = info
        self.images = images
        self.predictions = predictions
        self.batches = []

    def predict(self, noisy, timesteps, conditioning):
        keys = conditioning.context[:, 0, 0].tolist()
        self.batches.append(len(keys))
        if self.predictions is not None:
            return torch.stack([self.predictions[key] for key in keys])
        image = torch.stack([self.images[key] for key in keys])
        forward = objective.of(self.model)
        if self.model.prediction_type == "flow":
            noise = (noisy - (1 - timesteps.view(-1, 1, 1, 1)) * image) / timesteps.view(-1, 1, 1, 1)
        else:
            signal = self.model.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            noise = (noisy - signal.sqrt() * image) / (1 - signal).sqrt()
        return forward.target(image, noise, timesteps)


def context(*keys):
    return Conditioning(torch.tensor(keys).view(-1, 1, 1))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "flow"])
def test_the_finished_image_is_what_was_noised(prediction_type):
    info = model(prediction_type)
    image, noise = random(2, *SHAPE), random(2, *SHAPE, seed=1)
    timestep = timestep_at(info, 0.7)
    forward = objective.of(info)
    noisy, target = (step(image, noise, timestep.repeat(2)) for step in (forward.add_noise, forward.target))
    assert torch.allclose(finished(info, noisy, timestep, target), image, atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "flow"])
def test_a_sketch_is_the_image_of_a_model_that_knows_it(prediction_type):
    images = {
        1.0: random(*SHAPE, seed=1),
        2.0: random(*SHAPE, seed=2),
        3.0: random(*SHAPE, seed=3),
        0.0: random(*SHAPE),
    }
    session = Knowing(model(prediction_type), images)
    sketches = Sketches(session, SHAPE, 7, steps=5, cfg_scale=1.0, batch_size=2)
    drawn = sketches(context(1.0, 2.0, 3.0), context(0.0))
    assert torch.allclose(drawn, torch.stack([images[1.0], images[2.0], images[3.0]]), atol=1e-3)
    assert max(session.batches) == 2 and sum(session.batches) == 15


def test_guidance_moves_a_sketch_away_from_the_empty_prompt():
    images = {1.0: random(*SHAPE, seed=1), 0.0: random(*SHAPE)}
    session = Knowing(model(), images)
    drawn = Sketches(session, SHAPE, 7, steps=1, cfg_scale=3.0, batch_size=4)(context(1.0), context(0.0))
    # One step from pure noise: the guided prediction's x_0 is linear in it.
    assert torch.allclose(drawn[0], images[0.0] + 3 * (images[1.0] - images[0.0]), atol=1e-3)


def test_the_noise_of_a_sketch_is_the_same_in_every_batch():
    images = {key: random(*SHAPE, seed=int(key)) for key in (0.0, 1.0, 2.0)}
    predictions = {key: image * 0.1 for key, image in images.items()}
    one, other = (
        Sketches(Knowing(model(), predictions=predictions), SHAPE, 7, steps=3, cfg_scale=4.0, batch_size=size)(
            context(1.0, 2.0), context(0.0)
        )
        for size in (1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one[0] - images[1.0], one[1] - images[2.0])


def test_pull_and_alignment_of_a_caption_on_pure_noise():
    plain = random(*SHAPE)
    predictions = {0.0: plain, 1.0: plain + 0.5, 2.0: 3 * plain, 3.0: plain - 2 * plain}
    guidance = PureNoise(Knowing(model(), predictions=predictions), SHAPE, 3, 2)(context(1.0, 2.0, 3.0), context(0.0))
    size = plain.square().mean().sqrt().item()
    assert guidance.norm.tolist() == pytest.approx([0.5, 2 * size, 2 * size], rel=1e-5)
    constant = (plain.sum(0) / (plain.norm(dim=0) * 2)).mean().item()
    assert guidance.alignment.tolist() == pytest.approx([constant, 1.0, -1.0], abs=1e-5)


def test_distances_are_root_mean_squares():
    some, others = random(2, *SHAPE), random(3, *SHAPE, seed=1)
    expected = [[np.sqrt(((one - other) ** 2).mean()) for other in others.numpy()] for one in some.numpy()]
    assert np.allclose(latents.distances(some, others).numpy(), expected, atol=1e-5)


def test_spread_and_variety_of_three_points():
    points = torch.tensor([0.0, 1.0, 5.0]).view(3, 1, 1, 1).expand(3, *SHAPE)
    assert latents.spread(points) == pytest.approx(1.0)  # nearest others: 1, 1, 4
    assert latents.variety(points) == pytest.approx((1 + 4 + 5) / 3)
    assert np.isnan(latents.spread(points[:1])) and np.isnan(latents.variety(points[:1]))


def test_images_are_encoded_at_the_size_of_the_bucket():
    class Mirror:
        def encode_images(self, pixels):
            return LatentDistribution(pixels, pixels)

    image = Image.new("RGB", (40, 30), (255, 0, 51))
    encoded = latents.encoded(Mirror(), [image, image], (16, 12))
    assert encoded.shape == (2, 3, 12, 16)
    assert encoded[0, :, 0, 0].tolist() == pytest.approx([1.0, -1.0, -0.6], abs=1e-6)


def test_the_hash_keeps_waves_that_rise_together():
    wave = np.cos((np.arange(32) + 0.5) * np.pi / 32)
    falling = Image.fromarray((128 + 100 * np.outer(wave, wave)).astype(np.uint8))
    bits = perceptual_hash.bits(falling)
    assert bits.sum() == 32 and bits[0]
    brighter = Image.fromarray((np.asarray(falling) * 0.5 + 60).astype(np.uint8))
    other = Image.fromarray(np.asarray(falling)[:, ::-1].copy())
    table = perceptual_hash.distances([falling], [falling, falling.resize((90, 70)), brighter, other])
    assert table[0, 0] == 0 and table[0, 3] > 0 and not perceptual_hash.bits(other)[0]


def test_agreement_is_the_cosine_beyond_what_each_series_has_in_common():
    images = random(4, *SHAPE)
    assert latents.agreement(images, 0.5 * images + 3) == pytest.approx(1, abs=1e-5)
    assert latents.agreement(images, -images) == pytest.approx(-1, abs=1e-5)
    assert latents.agreement(images, random(4, *SHAPE, seed=1)) == pytest.approx(0, abs=0.15)
    rows = images.numpy().reshape(4, -1), random(4, *SHAPE, seed=1).numpy().reshape(4, -1)
    one, other = (row - row.mean(0) for row in rows)
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert latents.agreement(images, random(4, *SHAPE, seed=1)) == pytest.approx(cosines.mean(), abs=1e-5)
    assert np.isnan(latents.agreement(images[:1], images[:1]))


def test_nearest_counts_in_spreads():
    points = torch.tensor([0.0, 1.0, 5.0]).view(3, 1, 1, 1).expand(3, *SHAPE)
    drawn = torch.tensor([0.25, 1.5, 4.0]).view(3, 1, 1, 1).expand(3, *SHAPE)
    assert latents.nearest(drawn, points) == pytest.approx(0.5)
    assert np.isnan(latents.nearest(drawn[:0], points))


def test_leak_is_a_share_of_the_wanted_change():
    base, style = random(2, *SHAPE), random(2, *SHAPE, seed=1)
    assert latents.leak(base + 0.25 * style, base, base - style, base) == pytest.approx(0.25, rel=1e-5)
    assert np.isnan(latents.leak(base[:0], base[:0], base, base))
