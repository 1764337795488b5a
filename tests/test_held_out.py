"""The loss on held-out images against one computed by hand, and which images are held out."""

import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file

from lora_scripts_ext.dataset import source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.random_streams import HELD_OUT, derive
from lora_scripts_ext.training import held_out, run
from lora_scripts_ext.training.held_out import HeldOutLoss, Losses

from . import shop
from .test_training_math import model as model_info

POCKET = Path(__file__).resolve().parent.parent / "pocket"


@contextmanager
def opened(config, names=None):
    """The open model, and the images of these names."""
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
        dataset = dataset if names is None else dataset.only(names)
        store = Store.build(
            dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=1 << 30
        )
        yield session, store


@pytest.fixture(scope="module")
def trained(data, checkpoint, tmp_path_factory):
    """A config, and the LoRA that was trained with it."""
    config = shop.make_config(data, checkpoint, tmp_path_factory.mktemp("run") / "out", save_precision="fp32")
    return config, run.train(config, StandaloneHost()).lora


@contextmanager
def merged(session, lora):
    """The LoRA added to the frozen weights: W' = W + alpha / rank · up · down."""
    tensors = load_file(lora)
    modules = {target.key: target.module for target in session.targets()}
    before = {}
    for name, alpha in tensors.items():
        if name.endswith(".alpha"):
            key = name.removesuffix(".alpha")
            up, down = tensors[f"{key}.lora_up.weight"], tensors[f"{key}.lora_down.weight"]
            weight = modules[key].weight
            before[key] = weight.data.clone()
            weight.data += (alpha / len(down) * up.flatten(1) @ down.flatten(1)).view_as(weight)
    yield
    for key, weight in before.items():
        modules[key].weight.data.copy_(weight)


def by_hand(session, store, config, rounds):
    """The loss of each image, one image and one timestep at a time, with diffusers' noise schedule."""
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    shares = held_out.stratified(config.seed, len(store.examples), rounds)
    losses = []
    for position, example in enumerate(store.examples):
        parts = []
        for number in range(rounds):
            batch = store.batch([held_out.Visit(position, 0, 0, 0)], torch.device("cpu"))
            generator = torch.Generator().manual_seed(derive(config.seed, HELD_OUT, number, position))
            torch.randint(1000, (), generator=generator)
            latent, noise = torch.randn((2, *batch.mean.shape[1:]), generator=generator)
            timestep = torch.tensor([int(shares[number][position] * 1000)])
            clean = batch.mean + batch.std * latent
            noisy = scheduler.add_noise(clean, noise[None], timestep)
            with torch.no_grad():
                text = session.encode_text([example.caption])
                prediction = session.predict(noisy, timestep, text)
            parts.append(((prediction - noise[None]) ** 2).mean().item())
        losses.append(sum(parts) / rounds)
    return losses


def test_it_is_the_loss_computed_by_hand_with_and_without_the_lora(trained):
    config, lora = trained
    with opened(config) as (session, store):
        loss = HeldOutLoss(config, session, store, draws=12)
        base, with_lora = loss.of_file(None), loss.of_file(lora)
        assert base.by_image == pytest.approx(by_hand(session, store, config, 2), rel=1e-4)
        with merged(session, lora):
            assert with_lora.by_image == pytest.approx(by_hand(session, store, config, 2), rel=1e-4)
        assert with_lora.mean != pytest.approx(base.mean, rel=1e-6)
        assert base.mean == pytest.approx(sum(base.by_image) / 6)


def test_it_is_the_same_number_on_every_call_and_leaves_the_model_as_it_was(trained):
    config, lora = trained
    with opened(config) as (session, store):
        loss = HeldOutLoss(config, session, store, draws=12)
        first = loss.of_file(None), loss.of_file(lora), loss()
        torch.manual_seed(7)
        assert (loss.of_file(None), loss.of_file(lora), loss()) == first
        assert first[0] == first[2]
    with opened(config) as (session, store):
        assert HeldOutLoss(config, session, store, draws=12).of_file(lora) == first[1]
        assert HeldOutLoss(replace(config, seed=1), session, store, draws=12).of_file(lora) != first[1]


def test_how_images_are_batched_changes_rounding_alone(trained):
    config, _ = trained
    with opened(config) as (session, store):
        one, three = (HeldOutLoss(replace(config, batch_size=size), session, store, draws=12)() for size in (1, 3))
    assert one.by_image == pytest.approx(three.by_image, rel=1e-5)


def test_a_lora_of_another_rank_is_measured_and_one_of_another_model_refused(trained, data, tmp_path):
    config, lora = trained
    with opened(replace(config, lora_rank=2)) as (session, store):
        loss = HeldOutLoss(config, session, store, draws=6)
        assert loss.of_file(lora).mean > 0
        with pytest.raises(UserError, match="no such LoRA file"):
            loss.of_file(tmp_path / "none.safetensors")


def test_the_timesteps_are_stratified():
    shares = np.array(held_out.stratified(3, 5, 4))
    assert shares.shape == (4, 5)
    assert sorted((shares.ravel() * 20).astype(int)) == list(range(20))
    assert all(sorted((image * 4).astype(int)) == [0, 1, 2, 3] for image in shares.T)
    assert held_out.stratified(3, 5, 4) == shares.tolist() != held_out.stratified(4, 5, 4)


@pytest.mark.parametrize(("prediction", "variant"), [("epsilon", ""), ("flow", "dev"), ("flow", "schnell")])
def test_a_quantile_is_that_of_what_training_draws(prediction, variant):
    objective = held_out.objective.of(model_info(prediction, variant))
    drawn = torch.stack([
        objective.sample_timestep(torch.Generator().manual_seed(number), (16, 64, 64)) for number in range(4000)
    ]).float()  # fmt: skip
    scale = 1000 if prediction == "epsilon" else 1
    for share in (0.05, 0.3, 0.5, 0.9):
        at = objective.timestep_at(share, (16, 64, 64)).float()
        assert at.item() / scale == pytest.approx(drawn.quantile(share).item() / scale, abs=0.02)


CONTENTS = {f"{number:03d}.png": f"content {number}" for number in range(60)}


def test_a_tenth_is_held_out_by_content():
    chosen = held_out.choose(CONTENTS, 42)
    assert len(chosen) == 6 and chosen == sorted(chosen)
    renamed = {f"new {name}": content for name, content in reversed(CONTENTS.items())}
    assert held_out.choose(renamed, 42) == [f"new {name}" for name in chosen]
    assert held_out.choose(CONTENTS, 43) != chosen
    many = {str(number): str(number) for number in range(1000)}
    assert len(held_out.choose(many, 42)) == 16
    few = dict(list(CONTENTS.items())[:4])
    assert len(held_out.choose(few, 42)) == 2
    assert held_out.choose(dict(list(CONTENTS.items())[:3]), 42) == []


def test_what_was_held_out_stays_so_as_the_dataset_grows():
    first = dict(list(CONTENTS.items())[:40])
    before = held_out.choose(first, 42)
    after = held_out.choose(CONTENTS, 42, before=[CONTENTS[name] for name in before])
    assert set(before) < set(after) and len(after) == 6


def test_only_eligible_images_are_held_out_and_half_of_them_are_trained_on():
    new = ["050.png", "051.png", "052.png", "053.png"]
    chosen = held_out.choose(CONTENTS, 42, eligible=new)
    assert len(chosen) == 2 and set(chosen) < set(new)
    assert held_out.choose(CONTENTS, 42, eligible=new[:3]) == []
    # Two that were held out before are enough.
    assert held_out.choose(CONTENTS, 42, eligible=chosen, before=[CONTENTS[name] for name in chosen]) == chosen


def test_one_content_is_held_out_once():
    same = {"a.png": "x", "b.png": "x", "c.png": "x", "d.png": "y", "e.png": "z", "f.png": "w"}
    chosen = held_out.choose(same, 1)
    assert len({same[name] for name in chosen}) == len(chosen) == 2


def test_a_comparison_knows_how_far_the_images_can_tell():
    old = Losses((0.10, 0.20, 0.30, 0.40))
    better = held_out.compare(Losses((0.09, 0.18, 0.29, 0.38)), old)
    assert better.difference == pytest.approx(-0.015) and better.no_worse
    # By the book: s / sqrt(n), with s over n - 1.
    differences = torch.tensor([0.03, -0.01, 0.02, 0.02])
    mixed = held_out.compare(Losses(tuple((torch.tensor(old.by_image) + differences).tolist())), old)
    assert mixed.tolerance == pytest.approx((differences.std() / math.sqrt(4)).item(), rel=1e-4)
    assert mixed.difference == pytest.approx(0.015, rel=1e-4) and not mixed.no_worse
    assert held_out.compare(old, old) == held_out.Comparison(0.0, 0.0)
    assert held_out.compare(old, old).no_worse


def test_a_lora_trained_on_the_brand_is_better_on_images_of_it_that_it_has_not_seen(tmp_path):
    values = {
        "resolution": 64, "bucket_step": 32, "batch_size": 4, "max_steps": 12, "learning_rate": 2e-3,
        "validation_share": 0,
    }  # fmt: skip
    config = shop.make_config(
        POCKET / "brand", POCKET / "model" / "pocket.safetensors", tmp_path / "out", **values, trigger_word=""
    )
    names = sorted(path.name for path in (POCKET / "brand").glob("*.png"))
    outside = held_out.choose({name: name for name in names}, config.seed)
    assert len(outside) == 4
    losses = []

    def approve(session, lora):
        loss = HeldOutLoss.of_images(config, session, outside)
        losses.extend([loss.of_file(lora), loss.of_file(None)])
        return False

    result = run.train(config, StandaloneHost(), names=set(names) - set(outside), approve=approve)
    assert result.published is None and result.lora.is_file() and result.steps == 12
    comparison = held_out.compare(*losses)
    assert comparison.difference < -2 * comparison.tolerance, comparison
