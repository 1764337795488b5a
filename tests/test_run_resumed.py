"""When a state is saved, what may change until it is resumed, and damaged states."""

import itertools
import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_scripts_ext import threads
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import run, state, state_saver

from . import shop
from .test_run import command, same_tensors, train, write_yaml
from .test_run_diverged import finite


def test_a_state_is_due_every_minute_inside_an_epoch_too(data, checkpoint, tmp_path, monkeypatch):
    """With a clock on which a step takes 25 s a state is saved after every second one: a third might end too late."""
    clock = iter(range(10**6))
    saved = []
    save = state.save

    def remember(folder, now, identity):
        saved.append(now.step)
        save(folder, now, identity)

    config = shop.make_config(data, checkpoint, tmp_path / "out", batch_size=1, epochs=1)
    monkeypatch.setattr(state, "save", remember)
    monkeypatch.setattr(state_saver, "_clock", lambda: 25.0 * next(clock))
    assert train(config).steps == 6
    assert saved[-1] == 6
    assert all(after - before <= 2 for before, after in zip([0, *saved], saved, strict=False))


@pytest.mark.parametrize(("cost", "interval"), [(0.001, 5), (0.2, 20), (3.0, 60)])
def test_a_state_that_costs_little_is_saved_more_often(data, checkpoint, tmp_path, monkeypatch, cost, interval):
    """Saving takes a hundredth of the time, but is done every minute at least; a step takes 1 s here."""
    now, saved = [0.0], []
    save = state.save

    def slow(folder, one, identity):
        saved.append(one.step)
        now[0] += cost
        save(folder, one, identity)

    def listen(event):
        now[0] += event["event"] == "step"

    monkeypatch.setattr(state, "save", slow)
    monkeypatch.setattr(state_saver, "_clock", lambda: now[0])
    config = shop.make_config(data, checkpoint, tmp_path / "out", batch_size=1, epochs=25)
    run.train(config, StandaloneHost(), report=listen)
    spans = {after - before for before, after in itertools.pairwise(saved[1:-1])}
    assert spans and spans <= {interval - 1, interval, interval + 1}
    assert saved[0] <= 6 and saved[-1] == 150


def test_resuming_nothing_is_refused_unless_possible_is_enough(data, checkpoint, tmp_path):
    values = shop.settings(data, checkpoint, tmp_path / "out", epochs=1)
    config = write_yaml(tmp_path / "c.yaml", values)
    refused = subprocess.run(command(config, "--resume"), capture_output=True, text=True)
    assert refused.returncode == 2
    assert "nothing to resume" in refused.stderr
    assert not (tmp_path / "out").exists()
    started = subprocess.run(command(config, "--resume-if-possible"), capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout.splitlines()[-1])["steps"] == 3


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: truncate(folder / "tensors.safetensors"),
        lambda folder: (folder / "tensors.safetensors").write_bytes(b""),
        lambda folder: (folder / "tensors.safetensors").unlink(),
        lambda folder: (folder / "state.json").write_text(""),
        lambda folder: (folder / "state.json").write_text("[]"),
        lambda folder: (folder / "state.json").write_text('{"step": 4}'),
        lambda folder: (folder / "state.json").unlink(),
        lambda folder: save_file({"weights": torch.full((3,), math.nan)}, folder / "tensors.safetensors"),
    ],
    ids=["cut", "empty", "no tensors", "empty json", "a list", "half a state", "no json", "nan"],
)
def test_a_damaged_state_falls_back_to_the_one_before(damage, data, checkpoint, tmp_path):
    values = {"epochs": 2, "save_steps": 2, "save_precision": "fp32"}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    config = shop.make_config(data, checkpoint, tmp_path / "out", **values)
    stop = iter([False] * 4 + [True] * 100)
    stopped = train(config, should_stop=lambda: (tmp_path / "out" / "events.jsonl").exists() and next(stop))
    assert stopped.steps == 5
    older, newest = state.saved(tmp_path / "out" / "state")
    assert (older.name, newest.name) == ("step-00000004", "step-00000005")
    damage(newest)
    events = []
    resumed = train(config, resume=True, report=events.append)
    (warning,) = [event["text"] for event in events if event["event"] == "warning"]
    assert "step-00000005 is damaged" in warning
    assert "at step 4" in warning
    assert same_tensors(uninterrupted.lora, resumed.lora)
    for one in state.saved(tmp_path / "out" / "state"):
        (one / "state.json").write_text("")
    with pytest.raises(UserError, match="there is no other"):
        train(config, resume=True)


def test_a_state_saved_again_at_the_same_step_is_never_missing(tmp_path, monkeypatch):
    weights = state.State(4, {}, torch.ones(3), {}, {})
    state.save(tmp_path, weights, {})
    rename = Path.rename

    def die_in_between(self, target):
        if self.name.endswith(".tmp"):
            raise OSError("killed here")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", die_in_between)
    with pytest.raises(OSError, match="killed here"):
        state.save(tmp_path, weights, {})
    monkeypatch.undo()
    assert state.load(tmp_path, {}, pytest.fail).step == 4
    state.save(tmp_path, weights, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


def stopped_at(config, step: int):
    """A run of ``config``, stopped after so many steps."""
    stop = iter([False] * (step - 1) + [True] * 100)
    log = Path(config.output_dir) / "events.jsonl"
    result = train(config, should_stop=lambda: log.exists() and next(stop))
    assert result.stopped
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": True},
        {"fp8_base": True},
        {"batch_size": 1, "gradient_accumulation_steps": 4},
        {"batch_size": 4, "gradient_accumulation_steps": 1},
        {"mixed_precision": "bf16"},
        {"save_steps": 3, "keep_checkpoints": 1, "preview_prompts": ["a cup"], "save_captions": False},
    ],
    ids=str,
)
def test_what_does_not_change_the_mathematics_may_change_on_resume(changes, data, checkpoint, tmp_path):
    values = {"batch_size": 2, "gradient_accumulation_steps": 2, "epochs": 4, "save_precision": "fp32"}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    stopped_at(shop.make_config(data, checkpoint, tmp_path / "out", **values), 4)
    resumed = train(shop.make_config(data, checkpoint, tmp_path / "out", **{**values, **changes}), resume=True)
    assert resumed.steps == uninterrupted.steps
    if not {"fp8_base", "mixed_precision"} & changes.keys():
        one, other = load_file(uninterrupted.lora), load_file(resumed.lora)
        for key in one:
            torch.testing.assert_close(other[key], one[key], rtol=1e-3, atol=1e-5)


@pytest.fixture
def two_threads():
    """Torch computes with two threads, as another program or package may have set."""
    with threads.restored():
        assert threads.take(2) or pytest.skip("This machine has one core.")
        yield


def test_the_number_of_threads_is_kept_on_resume(data, checkpoint, tmp_path, two_threads):
    """Sums are rounded by it: without the state's number the weights of these two runs differ."""
    values = {"epochs": 4, "save_precision": "fp32"}
    uninterrupted, out = (shop.make_config(data, checkpoint, tmp_path / name, **values) for name in ("whole", "out"))
    with threads.restored():
        threads.take(1)
        stopped_at(out, 4)
        expected = train(uninterrupted).lora
    resumed = train(out, resume=True)
    assert same_tensors(resumed.lora, expected)
    assert threads.count() == 2


def test_more_threads_than_cores_are_not_used_on_resume(data, checkpoint, tmp_path, monkeypatch):
    config = shop.make_config(data, checkpoint, tmp_path / "out", epochs=4)
    monkeypatch.setattr(threads, "count", lambda: 10_000)
    stopped_at(config, 4)
    monkeypatch.undo()
    events = []
    assert not train(config, resume=True, report=events.append).stopped
    (text,) = [event["text"] for event in events if "threads" in event.get("text", "")]
    assert text.startswith(
        "The run was started with 10000 CPU threads, more than this machine has cores for; it continues"
    )


def test_processes_share_the_cores(two_threads):
    """Two processes with two threads each want four cores."""
    assert threads.take(2, processes=1)
    assert not threads.take(3, processes=os.cpu_count())
    assert threads.count() == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 4}, r"effective batch size .* was 2 .* is 4 now"),
        ({"gradient_accumulation_steps": 3}, r"effective batch size .* was 2 .* is 6 now"),
        ({"epochs": 9}, r"number of steps .* was 12"),
        ({"lora_rank": 8}, "lora_rank was 4"),
        ({"seed": 8}, "seed was 42"),
        ({"lora_dropout": 0.1}, r"lora_dropout was 0\.0"),
    ],
    ids=str,
)
def test_what_changes_the_mathematics_is_refused_on_resume(changes, sentence, data, checkpoint, tmp_path):
    values = {"epochs": 4}
    stopped_at(shop.make_config(data, checkpoint, tmp_path / "out", **values), 2)
    with pytest.raises(UserError, match=sentence):
        train(shop.make_config(data, checkpoint, tmp_path / "out", **{**values, **changes}), resume=True)


def test_another_number_of_processes_is_another_batch(tmp_path):
    config = shop.make_config(tmp_path / "data", tmp_path / "model", tmp_path / "out")
    facts = {"model_hash": "m", "dataset_hash": "d", "total_steps": 5}
    two, four = (state.fingerprint(config, effective_batch=count, **facts) for count in (2, 4))
    state.save(tmp_path, state.State(1, {}, torch.ones(2), {}, {}), two)
    with pytest.raises(UserError, match="processes"):
        state.load(tmp_path, four, pytest.fail)


def test_with_a_constant_learning_rate_a_run_may_be_extended(data, checkpoint, tmp_path):
    values = {"lr_scheduler": "constant", "save_precision": "fp32"}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", epochs=4, **values))
    train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=2, **values))
    longer = train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=4, **values), resume=True)
    assert same_tensors(uninterrupted.lora, longer.lora)


def test_a_state_of_an_older_version_is_refused_with_a_sentence(tmp_path):
    state.save(tmp_path, state.State(4, {}, torch.ones(3), {}, {}), {"seed": 1})
    path = tmp_path / "step-00000004" / "state.json"
    facts = json.loads(path.read_text())
    del facts["version"]
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="another version of LoRA Trainer"):
        state.load(tmp_path, {"seed": 1}, pytest.fail)


def test_infinite_settings_of_an_optimizer_survive_a_state(tmp_path):
    saved = {"param_groups": [{"growth_rate": math.inf, "betas": (0.9, 0.99), "lr": 1.0}]}
    state.save(tmp_path, state.State(4, {}, torch.ones(3), saved, {}), {})
    assert finite(tmp_path)
    loaded = state.load(tmp_path, {}, pytest.fail).optimizer["param_groups"][0]
    assert loaded == {"growth_rate": math.inf, "betas": [0.9, 0.99], "lr": 1.0}
