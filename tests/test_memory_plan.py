"""Runs that are larger than the memory: fewer images at once, or an error with figures."""

import pytest
import torch
from safetensors.torch import load_file

from lora_scripts_ext import memory_limits
from lora_scripts_ext.dataset import source
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.training import memory_plan, run
from lora_scripts_ext.training.footprint import Footprint
from lora_scripts_ext.training.step import Stepper

from . import models, shop


@pytest.mark.parametrize(
    ("free", "largest", "expected"),
    # 100 bytes and 50 for each image.
    [(1000, 4, 4), (300, 4, 4), (299, 4, 2), (250, 4, 2), (150, 4, 1), (299, 8, 3), (400, 8, 4), (150, 1, 1)],
)
def test_micro_batches_are_as_large_as_fits_and_of_like_size(free, largest, expected):
    assert memory_plan.images_at_once(lambda images: 100 + 50 * images, free, largest) == expected


def test_more_than_linear_needs_still_fit():
    assert memory_plan.images_at_once(lambda images: 10 * images**2, 250, 16) == 4


def test_one_image_too_many_is_refused_with_figures():
    with pytest.raises(
        UserError, match=r"needs about 3\.0 GiB with one image at a time, but only 2\.0 GiB is available; buy more"
    ):
        memory_plan.images_at_once(lambda images: images * (3 << 30), 2 << 30, 4, "buy more")


@pytest.fixture
def shop_run(tmp_path):
    data = shop.write_images(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")

    def make(name, **changes):
        return shop.make_config(
            data,
            model,
            tmp_path / name,
            batch_size=4,
            max_steps=2,
            enable_bucket=False,
            save_precision="fp32",
            **changes,
        )

    return make


def needs(config):
    model = inspect(config)
    dataset = source.read(config, config.sides(model.resolution), model.vae_factor)
    return memory_plan.StepMemory(model, config, dataset).needs


def test_a_run_that_is_too_large_is_refused_before_any_image_is_encoded(shop_run, monkeypatch):
    config = shop_run("out")
    free = needs(config)(1) - 1
    monkeypatch.setattr(memory_limits, "available", lambda: free)
    with pytest.raises(UserError, match=r"one image at a time.*resolution.*gradient_checkpointing: true"):
        run.train(config, StandaloneHost())
    assert not list(config.cache_path.rglob("*.safetensors"))


def test_a_model_that_is_too_large_is_refused_before_it_is_loaded(shop_run, monkeypatch):
    monkeypatch.setattr(memory_limits, "available", lambda: 10 << 20)
    with pytest.raises(UserError, match=r"m: loading this base model needs about \d+\.\d MiB of memory, .* 10\.0 MiB"):
        run.train(shop_run("out"), StandaloneHost())


def test_a_run_computes_fewer_at_once_from_the_start_with_the_same_result(shop_run, monkeypatch):
    at_once = run.train(shop_run("whole"), StandaloneHost())
    config, events, group_sizes = shop_run("parts"), [], []
    free = needs(config)(4) - 1
    backward = Stepper._backward

    def counted(stepper, number, visits, *more):
        group_sizes.append(len(visits))
        return backward(stepper, number, visits, *more)

    monkeypatch.setattr(Stepper, "_backward", counted)
    monkeypatch.setattr(memory_limits, "available", lambda: free)
    split = run.train(config, StandaloneHost(), report=events.append)
    # Six images in steps of three.
    assert group_sizes == [2, 1] * 2
    assert any("computing in groups of 2" in event["text"] for event in events if event["event"] == "warning")
    expected, weights = load_file(at_once.lora), load_file(split.lora)
    assert all(torch.allclose(weights[key], expected[key], atol=1e-5) for key in expected)


def test_memory_of_the_vae_for_a_large_image_counts(shop_run, monkeypatch):
    # With the VAE of a real model its share is the larger one where a step is small.
    monkeypatch.setattr(memory_plan, "measure", lambda *step: Footprint(kept_bytes=0, peak_bytes=0, flops=0))
    config, drawing = shop_run("out", resolution=512), shop_run("out", resolution=512, preview_epochs=1)
    assert needs(config)(1) >= 512 * 512 * 2_600
    assert needs(drawing)(1) - needs(config)(1) == 512 * 512 * 1_300
    monkeypatch.setattr(memory_limits, "available", lambda: 600 << 20)
    with pytest.raises(UserError, match=r"needs about \d+\.\d MiB with one image at a time, but only 600\.0 MiB"):
        run.train(config, StandaloneHost())
    assert not list(config.cache_path.rglob("*.safetensors"))


def test_processes_on_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(memory_limits, "available", lambda: 1000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert memory_plan.free_for(torch.device("cpu")) == 500
