"""A whole step against the reference recipe: PEFT on diffusers' UNet, same noise and timestep, every family."""

import copy
import dataclasses

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from torch import nn

from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.dataset import plan, source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import objective
from lora_scripts_ext.training.processes import World
from lora_scripts_ext.training.step import Stepper

from . import models, shop

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
STEP = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_images(tmp_path_factory.mktemp("data"))


def build(session, config, dtype=torch.float32):
    dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
    store = Store.build(dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**30)
    targets = select(session.targets(), config.target, config.train_text_encoder)
    return store, Adapter(targets, config.lora_rank, config.alpha, dropout=config.lora_dropout, seed=3, dtype=dtype)


def disturb(adapter):
    """``up`` becomes non-zero, else no gradient reaches ``down``."""
    with torch.no_grad():
        adapter.weights += 0.02 * torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(1))
    adapter.refresh()


def inject(session, adapter) -> nn.Module:
    """PEFT's LoRA on a copy of the UNet with our weights."""
    disturb(adapter)
    unet = copy.deepcopy(session._unet)
    inject_adapter_in_model(LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, target_modules=TARGETS), unet)
    layers = adapter.layers()
    for target in session.targets():
        if target.key in layers:
            theirs = unet.get_submodule(target.path)
            for name, ours in (("lora_A", layers[target.key].down), ("lora_B", layers[target.key].up)):
                getattr(theirs, name)["default"].weight.data.copy_(ours)
    return unet


def reference(session, unet, batch, config, positions):
    """Prediction and target by diffusers' train_text_to_image_lora recipe, written out."""
    model = session.model
    sample = objective.draw(
        config.seed, STEP, positions, batch.mean.shape[1:], objective.of(model).sample_timestep, 0.0
    )
    latents = batch.mean + batch.std * sample.latent
    a = model.alphas_cumprod[sample.timesteps].view(-1, 1, 1, 1)
    noisy = a**0.5 * latents + (1 - a) ** 0.5 * sample.noise
    context, added = batch.conditioning.context.double(), None
    if batch.conditioning.pooled is not None:
        added = {"text_embeds": batch.conditioning.pooled.double(), "time_ids": batch.conditioning.time_ids}
    prediction = unet(noisy.double(), sample.timesteps, context, added_cond_kwargs=added).sample.float()
    target_values = (
        sample.noise if model.prediction_type == "epsilon" else a**0.5 * sample.noise - (1 - a) ** 0.5 * latents
    )
    return prediction, target_values


@pytest.mark.parametrize(
    ("family", "prediction"),
    [("sd1", "epsilon"), ("sd2", "epsilon"), ("sd2", "v_prediction"), ("sdxl", "epsilon"), ("sdxl", "v_prediction")],
)
def test_loss_and_gradients_of_a_step_are_pefts(family, prediction, data, tmp_path):
    """In double precision, so that what differs would be the maths and not the order of sums: 1e-5 of every layer."""
    model = models.write_checkpoint(tmp_path / "m.safetensors", family, prediction_type=prediction)
    config = shop.make_config(data, model, tmp_path / "out", batch_size=3, learning_rate=1e-9, max_grad_norm=0)
    with StandaloneHost().open(config) as session:
        assert session.model.prediction_type == prediction
        store, adapter = build(session, config, torch.float64)
        session.model = dataclasses.replace(session.model, dtype=torch.float64)
        session._unet.double()
        unet = inject(session, adapter)
        (visits,) = next(step for step in plan.epoch_steps(store.examples, config, 0, 1) if len(step) == 1)
        stepper = Stepper(config, session, adapter, store, World(0, 1), 100)
        with adapter.attached():
            ours, _ = stepper.step(STEP, (visits,))
        gradients = dict(zip(adapter.keys(), _pairs(adapter), strict=True))
        batch = store.batch(visits, session.model.device)
        prediction, target_values = reference(session, unet, batch, config, [visit.position for visit in visits])
        theirs = nn.functional.mse_loss(prediction, target_values)
        theirs.backward()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=0)
        assert_gradients(session, gradients, unet)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_prior_preservation_is_diffusers(weight, data, tmp_path):
    """train_dreambooth.py: one batch of training and class images, halved: instance + prior_loss_weight · prior."""
    regular = shop.write_images(tmp_path / "class", count=4)
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    settings = {"batch_size": 3, "enable_bucket": False, "reg_data_dir": str(regular), "prior_loss_weight": weight}
    config = shop.make_config(data, model, tmp_path / "out", learning_rate=1e-9, max_grad_norm=0, **settings)
    with StandaloneHost().open(config) as session:
        store, adapter = build(session, config, torch.float64)
        session.model = dataclasses.replace(session.model, dtype=torch.float64)
        session._unet.double()
        unet = inject(session, adapter)
        step = plan.epoch_steps(store.examples, config, 0, 1)[0]
        stepper = Stepper(config, session, adapter, store, World(0, 1), 100)
        with adapter.attached():
            ours, _ = stepper.step(STEP, step)
        gradients = dict(zip(adapter.keys(), _pairs(adapter), strict=True))
        visits = [visit for micro in step for visit in micro]
        visits.sort(key=lambda visit: store.examples[visit.example].regularisation)
        assert [store.examples[visit.example].regularisation for visit in visits] == [False] * 3 + [True] * 3
        batch = store.batch(visits, session.model.device)
        prediction, target_values = reference(session, unet, batch, config, [visit.position for visit in visits])
        model_pred, model_pred_prior = torch.chunk(prediction, 2, dim=0)
        target, target_prior = torch.chunk(target_values, 2, dim=0)
        prior_loss = nn.functional.mse_loss(model_pred_prior, target_prior, reduction="mean")
        theirs = nn.functional.mse_loss(model_pred, target, reduction="mean") + weight * prior_loss
        theirs.backward()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=0)
        assert_gradients(session, gradients, unet)


def assert_gradients(session, gradients, unet):
    """Each layer's gradients are within 1e-5 of PEFT's, as a share of the largest."""
    for target in session.targets():
        for name, ours in zip(("lora_A", "lora_B"), gradients.pop(target.key, ()), strict=False):
            expected = getattr(unet.get_submodule(target.path), name)["default"].weight.grad
            largest = expected.abs().max().item()
            assert largest > 0, target.key
            gap = (ours.view_as(expected) - expected).abs().max().item()
            assert gap <= 1e-5 * largest, f"{target.key} {name}: {gap / largest:.1e}"
    assert not gradients, "layers PEFT does not train"


def _pairs(adapter):
    """(gradient of down, gradient of up) of every layer, in the order of the buffer."""
    flat = [tensor.grad for tensors in adapter.tensors().values() for tensor in tensors]
    return list(zip(flat[::2], flat[1::2], strict=True))


@pytest.mark.parametrize("normalize", [False, True])
def test_masks_huber_and_min_snr_are_multiplied(normalize, data, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for index in range(6):
        mask = Image.new("L", (32, 32), 0)
        mask.paste(255, (0, 0, 8 + 4 * index, 32))
        mask.save(masks / f"{index:02d}.png")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    settings = {"batch_size": 6, "enable_bucket": False, "masked_loss": "files", "mask_dir": str(masks)}
    settings |= {"unmasked_weight": 0.1, "normalize_masked_area_loss": normalize, "loss": "huber", "min_snr_gamma": 5}
    config = shop.make_config(data, model, tmp_path / "out", learning_rate=1e-9, max_grad_norm=0, **settings)
    with StandaloneHost().open(config) as session:
        store, adapter = build(session, config)
        (visits,) = plan.epoch_steps(store.examples, config, 0, 1)[0]
        with adapter.attached():
            ours, _ = Stepper(config, session, adapter, store, World(0, 1), 100).step(STEP, (visits,))
        batch, positions = store.batch(visits, session.model.device), [visit.position for visit in visits]
        with torch.no_grad():
            prediction, target_values = reference(
                session, copy.deepcopy(session._unet).double(), batch, config, positions
            )
    errors = nn.functional.huber_loss(prediction, target_values, reduction="none", delta=config.huber_delta)
    weight = batch.mask.clamp(min=0.1)
    assert len(weight.mean(dim=(1, 2, 3)).unique()) > 3
    errors = (errors * weight).mean(dim=(1, 2, 3))
    if normalize:
        errors = errors / weight.mean(dim=(1, 2, 3))
    sample = objective.draw(
        config.seed, STEP, positions, batch.mean.shape[1:], objective.of(session.model).sample_timestep, 0.0
    )
    a = session.model.alphas_cumprod[sample.timesteps]
    snr = a / (1 - a)
    torch.testing.assert_close(ours, (errors * snr.clamp(max=5) / snr).mean(), rtol=1e-5, atol=0)


class SingleProcess(World):
    """One of several processes, whose sums are computed by the test."""

    def sum_(self, tensor):
        pass


@pytest.mark.parametrize(("dropout", "prior"), [(0, "images"), (0.2, "images"), (0.2, "class_prompt")])
def test_a_batch_split_in_any_way_gives_the_same_loss_and_gradient(dropout, prior, data, tmp_path):
    """Eight visits: at once, in micro-batches, in ones, over processes, and where memory is short."""
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    regular = shop.write_images(tmp_path / "class", count=4)
    values = {"reg_data_dir": str(regular)} if prior == "images" else {"prior_preservation": prior}
    values |= {"prior_loss_weight": 0.5, "num_repeats": 2}
    values |= {"learning_rate": 1e-9, "max_grad_norm": 0, "lora_dropout": dropout, "target": "full"}
    results = []
    for batch, accumulation, world, at_once in [
        (8, 1, 1, None), (4, 2, 1, None), (1, 8, 1, None), (2, 2, 2, None), (1, 4, 2, None), (8, 1, 1, 1)
    ]:  # fmt: skip
        split = {"batch_size": batch, "gradient_accumulation_steps": accumulation}
        config = shop.make_config(data, model, tmp_path / "out", **values, **split)
        with StandaloneHost().open(config) as session:
            store, adapter = build(session, config)
            disturb(adapter)
            step = plan.epoch_steps(store.examples, config, 0, world)[0]
            losses, gradient = [], torch.zeros_like(adapter.weights)
            for rank in range(world):
                stepper = Stepper(config, session, adapter, store, SingleProcess(rank, world), 100)
                stepper.at_once = at_once
                with adapter.attached():
                    losses.append(stepper.step(STEP, step)[0])
                gradient += adapter.weights.grad
            results.append((sum(losses), gradient))
    loss, gradient = results[0]
    for other_loss, other in results[1:]:
        torch.testing.assert_close(other_loss, loss, rtol=1e-6, atol=0)
        torch.testing.assert_close(other / gradient.abs().max(), gradient / gradient.abs().max(), rtol=0, atol=2e-6)
