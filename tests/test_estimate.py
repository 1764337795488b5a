"""A dry run against the run it foretells."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lora_scripts_ext import cli
from lora_scripts_ext import config as configs
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.hosts.base import Conditioning, Target
from lora_scripts_ext.hosts.inspection import inspect
from lora_scripts_ext.hosts.standalone import StandaloneHost
from lora_scripts_ext.training import optimizer, recompute, run
from lora_scripts_ext.training.estimate import estimate

from . import models, shop


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_it_foretells_steps_size_and_file(family, tmp_path):
    data = shop.write_pictures(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", family)
    config = shop.make_config(data, model, tmp_path / "out", epochs=2, target="full")
    told = estimate(config, inspect(config))
    assert not (tmp_path / "out").exists()
    result = run.train(config, StandaloneHost())
    assert told.steps == result.steps
    assert told.dataset.buckets() == {(32, 32): 4, (40, 24): 2}
    # Names and metadata come on top of the numbers.
    assert 0 < result.lora.stat().st_size - told.file_bytes < 300_000


@pytest.mark.parametrize("checkpointed", [False, True])
def test_activations_are_what_autograd_keeps(checkpointed, tmp_path):
    data = shop.write_pictures(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(
        data, model, tmp_path / "out", batch_size=3, gradient_checkpointing=checkpointed, resolution=64
    )
    told = estimate(config, inspect(config))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with StandaloneHost().open(config) as session:
        adapter = Adapter(select(session.targets(), config.target, False), config.lora_rank)
        weights = {parameter.untyped_storage().data_ptr() for parameter in session._unet.parameters()}
        weights.add(adapter.weights.untyped_storage().data_ptr())
        words = session.encode_text(["a"] * 3)
        with (
            adapter.attached(),
            recompute.checkpointed(session.blocks(), enabled=checkpointed),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            answer = session.predict(
                torch.zeros(3, 4, 32, 32), torch.zeros(3, dtype=torch.int64), Conditioning(words.context)
            )
            real = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights)
        del answer
    assert told.activation_bytes == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("name", ["adamw", "lion", "prodigy", "schedulefree", "adafactor"])
def test_an_optimizer_keeps_as_much_as_foretold(name):
    config = configs.from_dict({"optimizer": name, "train_data_dir": "a", "base_model": "m", "output_dir": "out"})
    layer = torch.nn.Linear(640, 640)
    adapter = Adapter([Target(layer, "lora_unet_x", "x", "unet", "linear")], 16)
    made = optimizer.build(config, adapter)
    optimizer.start(made)
    adapter.weights.grad.fill_(1)
    made.step()
    kept = sum(one.nbytes for state in made.state.values() for one in state.values() if isinstance(one, torch.Tensor))
    assert kept / adapter.weights.numel() == pytest.approx(optimizer.state_bytes(name), abs=0.5)


def test_operations_are_those_that_torch_counts(tmp_path):
    data = shop.write_pictures(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", batch_size=1, enable_bucket=False, epochs=3)
    found = inspect(config)
    told = estimate(config, found)
    with FlopCounterMode(display=False) as counted:
        found.predict(1, 32, 32)
    # There and back through frozen layers; the adapter's own products are small.
    assert told.flops == pytest.approx(2 * counted.get_total_flops() * 18, rel=0.05)


def test_the_command_says_it_in_lines_and_json(tmp_path, capsys):
    data = shop.write_pictures(tmp_path / "data")
    (data / "broken.png").write_bytes(b"no picture")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", lr_warmup_steps=500)
    (tmp_path / "c.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert cli.main(["--config", str(tmp_path / "c.yaml"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  bucket     32x32: 4") for line in lines)
    assert any("broken.png" in line for line in lines)
    answer = json.loads(lines[-1])
    assert (answer["steps"], answer["pictures"], answer["layers"]) == (6, 6, 72)
    assert "the run has 6 steps: the warm-up is shortened to 0" in answer["warnings"][-1]
    assert any(answer["warnings"][-1] in line for line in lines[:-1])
