"""Text embeddings that take more memory than they may are read from the cache, with the same result."""

import shutil

import pytest
import torch

from lora_scripts_ext import config as configs
from lora_scripts_ext.dataset import source, texts
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.training import memory_plan
from lora_scripts_ext.training.memory_plan import StepMemory

from . import models, shop
from .test_dataset_store import TinySession, batch, put

VISITS = ((0, 0, 1), (1, 0, 0), (0, 0, None))


@pytest.fixture
def room(tmp_path):
    for index, caption in enumerate(("x, y, z", "u, v, w")):
        put(tmp_path / f"in/{index}.png", seed=index)
        (tmp_path / f"in/{index}.txt").write_text(caption)
    return tmp_path


def build(room, family, text_budget_bytes):
    values = {"train_data_dir": str(room / "in"), "base_model": "m", "output_dir": str(room / "out")}
    config = configs.from_dict({**values, "shuffle_caption": True, "caption_dropout": 0.1})
    dataset = source.read(config, [64], 4)
    return Store.build(
        dataset,
        TinySession(family),
        config,
        progress=lambda *event: None,
        check=lambda: None,
        budget_bytes=10**9,
        text_budget_bytes=text_budget_bytes,
    )


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_embeddings_beyond_the_budget_are_read_from_the_cache(family, room):
    expected = batch(build(room, family, None), *VISITS).conditioning
    for budget, kind in ((10**6, texts.Texts), (1000, texts.TextFiles), (0, texts.TextFiles)):
        store = build(room, family, budget)
        assert isinstance(store._texts, kind)
        conditioning = batch(store, *VISITS).conditioning
        assert torch.equal(conditioning.context, expected.context)
        assert (conditioning.pooled is None) == (expected.pooled is None)
        assert family == "sd1" or torch.equal(conditioning.pooled, expected.pooled)


def test_a_cache_that_disappears_during_a_run_gets_a_sentence(room):
    store = build(room, "sd1", 0)
    shutil.rmtree(room / "out" / "cache" / "text")
    with pytest.raises(UserError, match=r"cache_dir: .* cannot be read any more .* resume the run"):
        batch(store, *VISITS)


@pytest.mark.parametrize(("family", "width", "pooled"), [("sd1", 64, 0), ("sdxl", 128, 32)])
def test_the_memory_of_embeddings_is_estimated_and_bounded(family, width, pooled, tmp_path, monkeypatch):
    checkpoint = models.write_checkpoint(tmp_path / "model.safetensors", family)
    data = shop.write_images(tmp_path / "data")
    config = shop.make_config(
        data, checkpoint, tmp_path / "out", shuffle_caption=True, caption_variants=3, device="cpu"
    )
    model = inspect(config)
    dataset = source.read(config, [64], 2)
    captions = texts.captions(dataset.examples, config)
    expected = sum(map(len, captions)) * 4 * (77 * width + pooled)
    free = StepMemory(model, config, dataset)
    assert free.text_bytes == expected
    monkeypatch.setattr(memory_plan, "text_budget", lambda: 1000)
    bounded = StepMemory(model, config, dataset)
    assert bounded.text_bytes == 1000
    assert free.needs(1) - bounded.needs(1) == expected - 1000
