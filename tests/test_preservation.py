"""The class prompt is held at the base model's own output, without regularisation images."""

import copy
import dataclasses

import pytest
import torch
from PIL import Image
from torch import nn

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.dataset import plan
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.training import objective
from lora_scripts_ext.training.attach import attached
from lora_scripts_ext.training.estimate import estimate
from lora_scripts_ext.training.footprint import Live
from lora_scripts_ext.training.processes import World
from lora_scripts_ext.training.step import Stepper

from . import flux, models, shop
from .test_reference import STEP, _pairs, assert_gradients, build, disturb, inject, reference
from .test_run import same_tensors, train

HOLD = {"prior_preservation": "class_prompt"}
# Weights do not move, gradients are not clipped.
STILL = {"learning_rate": 1e-9, "max_grad_norm": 0, "enable_bucket": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp("model") / "m.safetensors", "sd1")


def noised(session, batch, config, visits):
    """Latents, random numbers and noisy latents of the step."""
    kind, positions = objective.of(session.model), [visit.position for visit in visits]
    sample = objective.draw(config.seed, STEP, positions, batch.mean.shape[1:], kind.sample_timestep, 0.0)
    latents = batch.mean + batch.std * sample.latent
    return latents, sample, kind.add_noise(latents, sample.noise, sample.timesteps)


@pytest.mark.parametrize(("family", "prediction"), [("sd1", "epsilon"), ("sd2", "v_prediction"), ("sdxl", "epsilon")])
def test_loss_and_gradients_are_those_of_peft_beside_the_untouched_unet(family, prediction, data, tmp_path):
    """In double precision: mean((peft(x, caption) - target)^2) + weight * mean((peft(x, class) - unet(x, class))^2)."""
    model = models.write_checkpoint(tmp_path / "m.safetensors", family, prediction_type=prediction)
    values = {**STILL, **HOLD, "batch_size": 3, "prior_loss_weight": 70}
    config = shop.make_config(data, model, tmp_path / "out", **values)
    with StandaloneHost().open(config) as session:
        store, adapter = build(session, config, torch.float64)
        session.model = dataclasses.replace(session.model, dtype=torch.float64)
        session._unet.double()
        base = copy.deepcopy(session._unet)
        unet = inject(session, adapter)
        step = plan.epoch_steps(store.examples, config, 0, 1)[0]
        stepper = Stepper(config, session, adapter, store, World(0, 1), 100)
        with adapter.attached():
            ours, _ = stepper.step(STEP, step)
        gradients = dict(zip(adapter.keys(), _pairs(adapter), strict=True))
        (visits,) = step
        batch, positions = store.batch(visits, session.model.device), [visit.position for visit in visits]
        of_class = dataclasses.replace(batch, conditioning=batch.class_conditioning)
        assert not torch.equal(of_class.conditioning.context, batch.conditioning.context)
        prediction, target = reference(session, unet, batch, config, positions)
        moved, _ = reference(session, unet, of_class, config, positions)
        with torch.no_grad():
            kept, _ = reference(session, base, of_class, config, positions)
        theirs = nn.functional.mse_loss(prediction, target) + 70 * nn.functional.mse_loss(moved, kept)
        theirs.backward()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=0)
        assert_gradients(session, gradients, unet)


@pytest.mark.parametrize(("family", "text_encoder"), [("sd1", False), ("sd1", True), ("sdxl", True), ("flux", False)])
def test_the_base_model_reads_the_class_with_its_own_text_encoder(family, text_encoder, data, tmp_path):
    path = tmp_path / "m.safetensors"
    model = flux.write_file(path) if family == "flux" else models.write_checkpoint(path, family)
    values = {**STILL, **HOLD, "class_prompt": "a thing", "batch_size": 6, "prior_loss_weight": 70}
    config = shop.make_config(data, model, tmp_path / "out", **values, train_text_encoder=text_encoder)
    with StandaloneHost().open(config) as session:
        store, adapter = build(session, config)
        disturb(adapter)
        (visits,) = plan.epoch_steps(store.examples, config, 0, 1)[0]
        with adapter.attached():
            ours, _ = Stepper(config, session, adapter, store, World(0, 1), 100).step(STEP, (visits,))
        gradient = adapter.gradients.clone()
        batch = store.batch(visits, session.model.device)
        latents, sample, noisy = noised(session, batch, config, visits)
        target = objective.of(session.model).target(latents, sample.noise, sample.timesteps)
        captions = [store.examples[visit.example].caption for visit in visits]
        classes = [caption.replace("brnd", "a thing") for caption in captions]

        def predicted(texts):
            text = session.encode_text(texts)
            return session.predict(noisy, sample.timesteps, Conditioning(text.context, text.pooled, batch.time_ids))

        with torch.no_grad():
            base = predicted(classes)
        adapter.zero_grad()
        with adapter.attached():
            own = nn.functional.mse_loss(predicted(captions), target)
            moved = 70 * nn.functional.mse_loss(predicted(classes), base)
            (own + moved).backward()
    assert moved.item() > 0.01 * own.item()
    torch.testing.assert_close(ours, (own + moved).detach(), rtol=1e-5, atol=0)
    scale = adapter.gradients.abs().max()
    torch.testing.assert_close(gradient / scale, adapter.gradients / scale, rtol=0, atol=1e-5)


def test_a_mask_covers_the_image_alone_and_all_else_counts_for_both(data, checkpoint, tmp_path):
    """Both losses are Huber's with a min-SNR weight, the class prompt's all over the image."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in data.glob("*.png"):
        mask = Image.new("L", (32, 32), 0)
        mask.paste(255, (0, 0, 16, 32))
        mask.save(masks / path.name)
    values = {"masked_loss": "files", "mask_dir": str(masks), "loss": "huber", "min_snr_gamma": 5, "batch_size": 6}
    losses = {}
    for weight in (0.0, 1.0, 2.0):
        config = shop.make_config(
            data, checkpoint, tmp_path / "out", **STILL, **HOLD, **values, prior_loss_weight=weight
        )
        with StandaloneHost().open(config) as session:
            store, adapter = build(session, config)
            disturb(adapter)
            (visits,) = plan.epoch_steps(store.examples, config, 0, 1)[0]
            with adapter.attached():
                losses[weight], _ = Stepper(config, session, adapter, store, World(0, 1), 100).step(STEP, (visits,))
            batch = store.batch(visits, session.model.device)
            _, sample, noisy = noised(session, batch, config, visits)
            assert bool(batch.class_captions) == (weight > 0)
            if batch.class_captions:
                inputs = (noisy, sample.timesteps, batch.class_conditioning)
                with torch.no_grad(), adapter.attached():
                    moved = session.predict(*inputs)
                    with adapter.suspended():
                        base = session.predict(*inputs)
                errors = nn.functional.huber_loss(moved, base, reduction="none", delta=config.huber_delta)
                a = session.model.alphas_cumprod[sample.timesteps]
                snr = a / (1 - a)
                expected = (errors.mean(dim=(1, 2, 3)) * snr.clamp(max=5) / snr).mean()
                torch.testing.assert_close(losses[weight] - losses[0.0], weight * expected, rtol=1e-4, atol=1e-7)


def test_a_weight_of_0_is_none_and_another_holds_what_has_no_trigger_word(data, checkpoint, tmp_path):
    values = {"max_steps": 6, "batch_size": 1, "learning_rate": 5e-3, "save_precision": "fp32"}
    ways = {"plain": {}, "nothing": {**HOLD, "prior_loss_weight": 0}, "held": HOLD}
    configs = {name: shop.make_config(data, checkpoint, tmp_path / name, **values, **ways[name]) for name in ways}
    loras = {name: train(config).lora for name, config in configs.items()}
    assert same_tensors(loras["plain"], loras["nothing"])
    # Nothing is encoded for it either.
    texts = {name: len(list((tmp_path / name / "cache").rglob("text/*"))) for name in ways}
    assert texts["held"] == 2 * texts["plain"] == 2 * texts["nothing"]
    moved = {name: moved_from_base(configs[name], loras[name]) for name in ("plain", "held")}
    assert 0 < moved["held"] < 0.5 * moved["plain"]


@torch.no_grad()
def moved_from_base(config, lora):
    """How far a LoRA moves the prediction for a prompt without the trigger word, on noise of its own."""
    with StandaloneHost().open(config) as session:
        adapter = Adapter(select(session.targets(), config.target, False), config.lora_rank)
        adapter.load(file.read(lora))
        noisy = torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        inputs = (noisy, torch.arange(60, 1000, 120), session.encode_text(["a lamp, on a table, soft light"] * 8))
        base = session.predict(*inputs)
        with adapter.attached():
            return (session.predict(*inputs) - base).square().mean().item()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trigger_word": ""}, "prompts without the trigger word, but trigger_word is empty; write a word"),
        ({"class_prompt": "a Brnd shoe"}, "class_prompt is 'a Brnd shoe', which holds the trigger word"),
        ({"caption_dropout": 0.1}, "caption_dropout trains on a caption without .*; set caption_dropout: 0"),
        ({"reg_data_dir": "class"}, "reg_data_dir and prior_preservation: class_prompt both .*; keep one of them"),
        (
            {"prior_preservation": "none", "class_prompt": "a shoe"},
            "class_prompt is 'a shoe' but prior_preservation is none; .* captions of the images in reg_data_dir",
        ),
    ],
)
def test_what_contradicts_it_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        shop.make_config("in", "m", "out", **{**HOLD, **changes})


@pytest.mark.parametrize("changes", [{}, {"train_text_encoder": True}, {"gradient_checkpointing": True}], ids=str)
def test_the_estimate_counts_the_further_passes(changes, tmp_path):
    """Another training step and a prediction, after the first has let go of its memory."""
    data = shop.write_images(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    values = {"batch_size": 3, "enable_bucket": False, "trigger_word": "brnd", **changes}
    plain = shop.make_config(data, model, tmp_path / "out", **values)
    config = shop.make_config(data, model, tmp_path / "out", **values, **HOLD)
    without, estimated = estimate(plain, inspect(plain)), estimate(config, inspect(config))
    passes = 3 if config.gradient_checkpointing else 2
    assert estimated.flops / without.flops == pytest.approx((2 * passes + 1) / passes, rel=0.05)
    assert estimated.activation_bytes == without.activation_bytes
    if not config.train_text_encoder:
        assert estimated.text_bytes == 2 * without.text_bytes
    with StandaloneHost().open(config) as session, Live() as live:
        store, adapter = build(session, config)
        stepper = Stepper(config, session, adapter, store, World(0, 1), 100)
        (visits,) = plan.epoch_steps(store.examples, config, 0, 1)[0]
        recomputed = config.gradient_checkpointing
        with (
            attached(adapter, session.targets(), session.blocks(), gradient_checkpointing=recomputed),
            torch.autograd.graph.saved_tensors_hooks(live.keep, lambda tensor: tensor),
        ):
            known = live.most = live.now
            stepper.backward(0, (visits,))
    peak = estimated.activation_bytes + estimated.transient_bytes
    assert peak == pytest.approx(live.most - known, rel=0.25)
