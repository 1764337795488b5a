"""The estimate against the run itself."""

import json
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lora_scripts_ext import config as configs
from lora_scripts_ext import memory_limits
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.commands import train
from lora_scripts_ext.contract import Conditioning, Target
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.training import optimizer, run
from lora_scripts_ext.training.attach import attached
from lora_scripts_ext.training.estimate import estimate
from lora_scripts_ext.training.footprint import Live, keeps_scores

from . import models, shop


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_steps_buckets_and_file_size_are_those_of_the_run(family, tmp_path):
    data = shop.write_images(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", family)
    config = shop.make_config(data, model, tmp_path / "out", epochs=2, target="full")
    estimated = estimate(config, inspect(config))
    assert not (tmp_path / "out").exists()
    result = run.train(config, StandaloneHost())
    assert estimated.steps == result.steps
    assert estimated.dataset.buckets() == {(32, 32): 4, (40, 24): 2}
    # Names and metadata come on top of the numbers.
    assert 0 < result.lora.stat().st_size - estimated.file_bytes < 300_000


def test_a_doubtful_model_is_warned_of_in_the_estimate_and_in_the_run(tmp_path):
    model = models.write_checkpoint(tmp_path / "m_turbo.safetensors", "sd1")
    config = shop.make_config(shop.write_images(tmp_path / "data"), model, tmp_path / "out", max_steps=1)
    (notice,) = (text for text in estimate(config, inspect(config)).notices if "says turbo" in text)
    events = []
    run.train(config, StandaloneHost(), report=events.append)
    assert [event["text"] for event in events if event["event"] == "warning"].count(notice) == 1


@contextmanager
def unfused_attention():
    """Attention as hosts without a fused kernel compute it: every score is kept."""
    if hasattr(torch.nn, "attention"):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            yield
    else:
        with torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False, enable_math=True):
            yield


def real_step(config, size, batch):
    """What a step on real tensors keeps between its passes, and the most that is alive in them, in bytes."""
    with StandaloneHost().open(config) as session, Live() as live:
        adapter = Adapter(
            select(session.targets(), config.target, config.train_text_encoder),
            config.lora_rank,
            dropout=config.lora_dropout,
        )
        side = size // session.model.vae_factor
        with torch.no_grad():
            text = session.encode_text(["a"] * batch)
        known = live.now
        with (
            attached(
                adapter, session.targets(), session.blocks(), gradient_checkpointing=config.gradient_checkpointing
            ),
            torch.autograd.graph.saved_tensors_hooks(live.keep, lambda tensor: tensor),
            adapter.dropping(range(batch)),
        ):
            live.most = live.now
            if config.train_text_encoder:
                text = session.encode_text(["a"] * batch)
            text = Conditioning(text.context, text.pooled, torch.zeros(batch, 6))
            text = text if session.model.family == "sdxl" else Conditioning(text.context)
            times = torch.zeros(batch, dtype=torch.int64)
            prediction = session.predict(torch.zeros(batch, 4, side, side), times, text)
            loss = torch.nn.functional.mse_loss(prediction, torch.zeros_like(prediction))
            del prediction, text
            kept = live.now - known
            loss.backward()
        return kept, live.most - known


@pytest.mark.parametrize(
    ("attention", "family", "changes"),
    [
        (nullcontext, "sd1", {}),
        (nullcontext, "sd1", {"lora_dropout": 0.1}),
        (nullcontext, "sd2", {"train_text_encoder": True}),
        (unfused_attention, "sd1", {"gradient_checkpointing": True}),
        (unfused_attention, "sdxl", {"train_text_encoder": True}),
    ],
)
def test_a_step_takes_as_much_as_estimated(attention, family, changes, tmp_path):
    data = shop.write_images(tmp_path / "data", side=64)
    model = models.write_checkpoint(tmp_path / "m.safetensors", family)
    config = shop.make_config(
        data, model, tmp_path / "out", batch_size=3, resolution=64, enable_bucket=False, **changes
    )
    with attention():
        estimated = estimate(config, inspect(config))
        kept, peak = real_step(config, 64, 3)
    assert estimated.activation_bytes == pytest.approx(kept, rel=0.1)
    assert estimated.activation_bytes + estimated.transient_bytes == pytest.approx(peak, rel=0.25)


def test_the_full_attention_matrix_is_counted_where_a_kernel_keeps_it():
    kind = (torch.device("cpu"), torch.float32, 40, False, False)
    assert not keeps_scores(*kind)
    with unfused_attention():
        assert keeps_scores(*kind)


def test_a_loaded_model_is_estimated_as_its_file(tmp_path):
    data = shop.write_images(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sdxl")
    config = shop.make_config(data, model, tmp_path / "out", train_text_encoder=True)
    estimated = estimate(config, inspect(config))
    with StandaloneHost().open(config) as session:
        loaded = estimate(config, session.outline())
    assert loaded.activation_bytes == estimated.activation_bytes
    assert (loaded.layers, loaded.weight_bytes, loaded.flops) == (
        estimated.layers,
        estimated.weight_bytes,
        estimated.flops,
    )


def test_too_little_memory_is_reported_before_the_run(tmp_path, monkeypatch):
    data = shop.write_images(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", batch_size=4)
    enough = estimate(config, inspect(config))
    assert enough.memory_note is None and enough.to_dict()["images_at_once"] == 4

    monkeypatch.setattr(memory_limits, "available", lambda: enough.fit.needed - 1)
    fewer = estimate(config, inspect(config))
    assert fewer.to_dict()["fits"] and fewer.fit.at_once == 2
    assert any("computing in groups of 2" in line for line in fewer.lines())

    monkeypatch.setattr(memory_limits, "available", lambda: 1 << 20)
    none = estimate(config, inspect(config))
    assert not none.to_dict()["fits"] and none.to_dict()["free_bytes"] == 1 << 20
    assert "gradient_checkpointing: true" in none.memory_note


@pytest.mark.parametrize("name", ["adamw", "lion", "prodigy", "schedulefree", "adafactor"])
def test_an_optimizer_keeps_as_much_as_estimated(name):
    config = configs.from_dict({"optimizer": name, "train_data_dir": "a", "base_model": "m", "output_dir": "out"})
    layer = torch.nn.Linear(640, 640)
    adapter = Adapter([Target(layer, "lora_unet_x", "x", "unet", "linear")], 16)
    built = optimizer.build(config, adapter)
    optimizer.start(built)
    adapter.weights.grad.fill_(1)
    built.step()
    kept = sum(one.nbytes for state in built.state.values() for one in state.values() if isinstance(one, torch.Tensor))
    assert kept / adapter.weights.numel() == pytest.approx(optimizer.state_bytes(name), abs=0.5)


def test_operations_are_those_that_torch_counts(tmp_path):
    data = shop.write_images(tmp_path / "data")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", batch_size=1, enable_bucket=False, epochs=3)
    outlined = inspect(config)
    estimated = estimate(config, outlined)
    with FlopCounterMode(display=False) as counted:
        outlined.predict(1, 32, 32)
    # Forward and backward through frozen layers; the adapter's own products are small.
    assert estimated.flops == pytest.approx(2 * counted.get_total_flops() * 18, rel=0.05)


def test_the_command_prints_lines_and_json(tmp_path, capsys):
    data = shop.write_images(tmp_path / "data")
    (data / "broken.png").write_bytes(b"no image")
    model = models.write_checkpoint(tmp_path / "m.safetensors", "sd1")
    config = shop.make_config(data, model, tmp_path / "out", lr_warmup_steps=500)
    (tmp_path / "c.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert train.main(["--config", str(tmp_path / "c.yaml"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  bucket     32x32: 4") for line in lines)
    assert any("broken.png" in line for line in lines)
    output = json.loads(lines[-1])
    assert (output["steps"], output["pictures"], output["layers"]) == (6, 6, 72)
    assert "the run has 6 steps: the warm-up is reduced to 0" in output["warnings"][-1]
    assert any(output["warnings"][-1] in line for line in lines[:-1])
