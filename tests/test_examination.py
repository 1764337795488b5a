"""The measures of a LoRA on an open model: what they are made of, and that only the adapter changes them."""

import math
from dataclasses import asdict, replace

import pytest
import torch

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.dataset import source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.evaluation.examination import Examination, examine
from lora_scripts_ext.evaluation.findings import Findings
from lora_scripts_ext.evaluation.subjects import subjects
from lora_scripts_ext.hosts.standalone.host import StandaloneHost

from . import shop

QUIET = Findings(
    recall=0.4,
    base_recall=0.3,
    agreement=0.5,
    unseen_agreement=0.5,
    nearest=0.9,
    variety=1.0,
    pull=1.0,
    alignment=0.0,
    leak=math.nan,
)


@pytest.fixture(scope="module")
def opened(data, checkpoint, tmp_path_factory):
    config = shop.make_config(data, checkpoint, tmp_path_factory.mktemp("run") / "out", trigger_word="zyx")
    with StandaloneHost().open(config) as session:
        dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
        store = Store.build(
            dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=1 << 30
        )
        yield config, session, store


def test_what_is_looked_at(opened):
    config, _, store = opened
    chosen = subjects(config, store, ["a thing", store.examples[0].caption, "a thing", ""])
    assert chosen.unseen == ("a thing",)
    by_caption = {example.caption: example for example in store.examples}
    sizes = {by_caption[caption].bucket for caption in chosen.captions}
    assert len(sizes) == 1 and len(set(chosen.captions)) == len(chosen.own) <= 8
    assert all(f"zyx, {plain}" in chosen.captions for plain in chosen.plain) and chosen.plain
    assert subjects(config, store).captions == chosen.captions


def test_an_adapter_without_effect_is_the_base_model(opened):
    config, session, store = opened
    adapter = Adapter(select(list(session.targets()), "attention", False), 2)
    examination = Examination(config, session, store, ["a thing", "another"])
    with adapter.attached():
        found = examination()
    assert found.pull == 1 and found.recall == found.base_recall
    assert found.agreement == found.unseen_agreement == pytest.approx(1, abs=1e-5)
    assert math.isnan(found.leak)


def test_only_the_adapter_changes_the_figures(opened, tmp_path):
    config, session, store = opened
    adapter = Adapter(select(list(session.targets()), "attention", False), 2)
    with torch.no_grad():
        adapter.weights.normal_(generator=torch.Generator().manual_seed(0))
    file.save(tmp_path / "lora.safetensors", adapter.layers(), torch.float32, {})
    examination = Examination(config, session, store, ["a thing", "another"])
    with adapter.attached():
        first, second = (examination() for _ in range(2))
    assert first == second
    assert examine(config, session, store, tmp_path / "lora.safetensors", ["a thing", "another"]) == first
    assert first.pull != 1 and first.recall != first.base_recall and first.agreement < 0.999 and first.leak > 0


def test_without_unseen_prompts_nothing_is_said_of_the_nearest(opened):
    config, session, store = opened
    found = Examination(config, session, store)()
    assert math.isnan(found.nearest) and not math.isnan(found.recall)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, ()),
        ({"recall": 0.9}, ("copies",)),
        ({"agreement": 0.01}, ("falls apart",)),
        ({"recall": math.nan, "agreement": math.nan}, ()),
        ({"leak": 0.9}, ()),
    ],
)
def test_what_is_noticed(change, names):
    found = replace(QUIET, **change)
    assert found.names == names
    assert len(found.sentences()) == len(names) + ("leak" in change)
    assert all(sentence.endswith(".") and ";" in sentence for sentence in found.sentences())
    assert set(asdict(found)) >= set(change)
