"""A run never ends well with a bad model: values that are not finite are never written."""

import json
import math
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_scripts_ext.errors import TrainingError
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import log, loss_scale, state

from . import shop
from .place import Place
from .test_run import command, events, same_tensors, train, write_yaml


def finite(folder: Path) -> bool:
    """Whether all tensors and JSON below a folder hold finite numbers only."""
    for path in folder.rglob("*.safetensors"):
        if not all(torch.isfinite(tensor).all() for tensor in load_file(path).values() if tensor.is_floating_point()):
            return False
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json*")]
    return not any(word in text for text in texts for word in ("NaN", "Infinity"))


def diverging(monkeypatch, at: int) -> None:
    """From predicting step ``at`` (1-based) on, the model predicts NaN."""
    predict, calls = StandaloneSession.predict, []

    def broken(self, noisy, timesteps, conditioning):
        calls.append(0)
        return predict(self, noisy, timesteps, conditioning) * (math.nan if len(calls) >= at else 1)

    monkeypatch.setattr(StandaloneSession, "predict", broken)


def test_a_learning_rate_at_which_training_diverges_ends_with_a_sentence_and_no_lora(data, checkpoint, tmp_path):
    values = {"learning_rate": 10, "max_steps": 40, "epochs": 20}
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "out", **values))
    done = subprocess.run(command(config), capture_output=True, text=True)
    assert done.returncode == 1
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "diverged" in sentence
    assert "learning_rate (it is 10)" in sentence
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.safetensors"))
    assert finite(tmp_path / "out")
    assert events(tmp_path / "out")[-1]["event"] == "failed"


def test_a_loss_that_is_not_finite_ends_the_run_at_once_and_the_state_before_is_kept(
    data, checkpoint, tmp_path, monkeypatch
):
    values = {"epochs": 4, "save_steps": 2, "save_precision": "fp32"}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    config = shop.make_config(data, checkpoint, tmp_path / "out", **values)
    with monkeypatch.context() as context:
        diverging(context, at=8)
        with pytest.raises(TrainingError, match=r"loss is not a finite number at step 8.*step-00000006 is kept"):
            train(config)
    assert [event["step"] for event in events(tmp_path / "out") if event["event"] == "step"] == list(range(1, 8))
    assert finite(tmp_path / "out")
    assert same_tensors(train(config, resume=True).lora, uninterrupted.lora)


def test_weights_that_are_not_finite_are_not_written_even_if_the_losses_were(data, checkpoint, tmp_path, monkeypatch):
    on_epoch_end = log.Log.on_epoch_end

    def spoil(self):
        if self._progress.done:
            with torch.no_grad():
                self._context.adapter.weights[7] = math.inf
        on_epoch_end(self)

    monkeypatch.setattr(log.Log, "on_epoch_end", spoil)
    with pytest.raises(TrainingError, match="weights are not finite after step 6"):
        train(shop.make_config(data, checkpoint, tmp_path / "out", save_epochs=1))
    assert not (tmp_path / "out" / "out.safetensors").exists()
    assert finite(tmp_path / "out")


def test_an_optimizer_state_that_is_not_finite_is_not_saved(tmp_path):
    broken = state.State(3, {}, torch.zeros(4), {"state": {0: {"exp_avg_sq": torch.tensor([1.0, math.inf])}}}, {})
    with pytest.raises(TrainingError, match="After step 3"):
        state.save(tmp_path / "state", broken, {})
    assert not list(tmp_path.iterdir())


def test_a_failed_job_reports_valid_json(data, checkpoint, tmp_path, monkeypatch):
    diverging(monkeypatch, at=2)
    place = Place(tmp_path / "library")
    job = place.add(shop.settings(data, checkpoint, tmp_path / "out"))
    failed = place.perform()
    json.dumps(place.report(job), allow_nan=False)
    assert failed.state == "failed"
    assert "diverged" in failed.reason
    assert not list(tmp_path.rglob("crash.log"))


class Scaler:
    """A gradient scaler whose scale is halved, as after an overflow, while ``overflows``."""

    def __init__(self) -> None:
        self.scale, self.overflows = 65536.0, True

    def is_enabled(self) -> bool:
        return True

    def get_scale(self) -> float:
        return self.scale

    def step(self) -> None:
        self.scale *= 0.5 if self.overflows else 1


def test_a_loss_scaler_that_keeps_skipping_steps_is_reported_and_then_ends_the_run():
    scaler, warnings = Scaler(), []
    watch = loss_scale.SkippedSteps(scaler, warnings.append)
    for step in range(1, 10):
        scaler.step()
        watch.after_step(step)
    scaler.overflows = False
    watch.after_step(10)
    assert warnings == []
    scaler.overflows = True
    with pytest.raises(TrainingError, match="25 steps in a row, up to step 35"):
        for step in range(11, 100):
            scaler.step()
            watch.after_step(step)
    assert len(warnings) == 1
    assert "10 steps in a row, up to step 20" in warnings[0]
