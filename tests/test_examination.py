"""The measures of a LoRA on an open model: what they are made of, and that only the adapter changes them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.dataset import source
from lora_scripts_ext.dataset.plan import Visit
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.evaluation import latents
from lora_scripts_ext.evaluation.examination import Examination, examine
from lora_scripts_ext.evaluation.findings import Findings
from lora_scripts_ext.evaluation.subjects import subjects
from lora_scripts_ext.hosts.standalone.host import StandaloneHost

from . import shop

QUIET = Findings(
    recall=0.5, unseen_recall=0.4, nearest=1.2, variety=1.0, outlines=0.6, pull=1.0, alignment=0.0, leak=math.nan
)


@pytest.fixture(scope="module")
def opened(data, checkpoint, tmp_path_factory):
    config = shop.make_config(data, checkpoint, tmp_path_factory.mktemp("run") / "out", trigger_word="zyx")
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
        store = Store.build(
            dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=1 << 30
        )
        yield config, session, store.only([0, 2, 3, 5]), store.only([1, 4])


def test_what_is_looked_at(opened):
    config, _, store, held_out = opened
    chosen = subjects(config, store, held_out)
    square = [example for example in store.examples if example.bucket == (32, 32)]
    assert sorted(chosen.captions) == sorted(example.caption for example in square)
    assert sorted(chosen.unseen) == sorted(example.caption for example in held_out.examples)
    assert sorted(f"zyx, {plain}" for plain in chosen.plain) == sorted(chosen.captions)
    for caption, row in zip(chosen.captions, chosen.own, strict=True):
        index = [example.caption for example in store.examples].index(caption)
        own = store.batch([Visit(index, 0, 0, 0)], torch.device("cpu")).mean[0]
        assert torch.equal(chosen.latents[row], own)
    assert len(chosen.unseen_latents) == len(chosen.unseen)


def test_an_adapter_without_effect_is_the_base_model(opened):
    config, session, store, held_out = opened
    adapter = Adapter(select(list(session.targets()), "attention", False), 2)
    examination = Examination(config, session, store, held_out)
    with adapter.attached():
        found = examination()
    assert found == replace(examination(), leak=found.leak)
    assert found.pull == 1 and math.isnan(found.leak)


def test_only_the_adapter_changes_the_figures(opened, tmp_path):
    config, session, store, held_out = opened
    adapter = Adapter(select(list(session.targets()), "attention", False), 2)
    with torch.no_grad():
        adapter.weights.normal_(generator=torch.Generator().manual_seed(0))
    file.save(tmp_path / "lora.safetensors", adapter.layers(), torch.float32, {})
    examination = Examination(config, session, store, held_out)
    base = examination()
    with adapter.attached():
        first, second = (examination() for _ in range(2))
    assert first == second
    assert examine(config, session, store, held_out, tmp_path / "lora.safetensors") == first
    assert first.pull != 1 and first.leak > 0
    assert first.recall != base.recall and first.unseen_recall != base.unseen_recall


def test_without_held_out_images_less_is_said(opened):
    config, session, store, _ = opened
    found = Examination(config, session, store, None)()
    assert math.isnan(found.nearest) and math.isnan(found.unseen_recall) and not math.isnan(found.recall)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({}, ""),
        ({"recall": 0.86, "unseen_recall": 0.39}, "learned them by heart"),
        ({"recall": 0.86, "unseen_recall": 0.39, "outlines": 0.1}, "learned them by heart"),
        ({"recall": 0.86, "unseen_recall": 0.7}, ""),
        ({"recall": 0.6, "unseen_recall": 0.1}, ""),
        ({"recall": 0.9, "unseen_recall": math.nan}, ""),
        ({"outlines": 0.2}, "objects have dissolved"),
        ({"outlines": math.nan}, ""),
    ],
)
def test_what_is_warned_of(figures, words):
    sentence = replace(QUIET, **figures).warning("epoch 6")
    assert words in sentence and bool(sentence) == bool(words) == ("epoch 6" in sentence)


def test_outlines_are_those_of_the_same_prompts_whatever_the_colours():
    base = torch.zeros(4, 4, 16, 16)
    for row, (top, left) in enumerate([(1, 1), (1, 9), (9, 1), (9, 9)]):
        base[row, :, top : top + 6, left : left + 6] = 1
    assert latents.outlines(base, base) == pytest.approx(_correlations(base), abs=1e-5)
    assert latents.outlines(2 - 3 * base, base) == pytest.approx(_correlations(base), abs=1e-5)
    assert latents.outlines(base.roll(1, 0), base) < 0
    assert math.isnan(latents.outlines(base[:1], base[:1]))


def _correlations(images):
    """The mean correlation of outlines with themselves, 1, less that with the others', by numpy."""
    grown = []
    for image in images.numpy():
        across, down = np.diff(image, axis=2)[:, :-1], np.diff(image, axis=1)[:, :, :-1]
        lengths = np.sqrt((across**2 + down**2).sum(0))
        grown.append(_neighbourhoods(lengths).ravel())
    table = np.corrcoef(grown)
    return 1 - (table.sum() - len(table)) / (table.size - len(table))


def _neighbourhoods(values):
    """The mean of each cell's neighbourhood of 3 x 3, as far as it lies inside."""
    height, width = values.shape
    rows = [[values[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean() for x in range(width)] for y in range(height)]
    return np.array(rows)
