"""The held-out loss of a run: what it measures, that it changes nothing, and how a run ends early by it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.evaluation import findings
from lora_scripts_ext.training import held_out, suggested, validation
from lora_scripts_ext.training.held_out import HeldOutLoss
from lora_scripts_ext.training.validation import cost

from . import shop
from .test_held_out import opened
from .test_run import events, same_tensors, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty different images, and a copy of two of them in another format."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(20):
        blocks = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((32, 32), Image.Resampling.NEAREST)
        image.save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(f"a thing, number {number}")
        if number < 2:
            image.save(folder / f"copy-{number}.webp", quality=80)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What one test has encoded is not encoded again."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def every_epoch(monkeypatch):
    """So short a run measures after every epoch, too, and quickly."""
    monkeypatch.setattr(validation, "_SHARE_OF_TIME", 1.0)
    monkeypatch.setattr(validation, "_MOST_DRAWS", 8)


@pytest.fixture
def config(every_epoch, folder, checkpoint, tmp_path, cache):
    return shop.make_config(
        folder, checkpoint, tmp_path / "out", batch_size=4, epochs=3, save_precision="fp32", preview_epochs=0,
        save_epochs=1, output_name="out", cache_dir=str(cache),
    )  # fmt: skip


def measured(folder):
    return [event for event in events(folder) if event["event"] == "held_out"]


def test_a_tenth_is_held_out_and_measured_with_the_lora_and_without(config, tmp_path):
    result = train(config)
    (start,) = [event for event in events(tmp_path / "out") if event["event"] == "start"]
    assert (start["pictures"], start["held_out_pictures"]) == (20, 2)
    logged = measured(tmp_path / "out")
    assert [(one["step"], one["epoch"]) for one in logged] == [(0, 0), (5, 1), (10, 2), (15, 3)]
    assert logged[0]["loss"] == logged[0]["base"]
    assert len({one["base"] for one in logged}) == 1
    assert [vars(one) for one in result.held_out] == [
        {key: one[key] for key in ("step", "epoch", "loss", "base")} for one in logged
    ]
    # The same by the files that the run wrote.
    names = outside(config)
    with opened(config, names) as (session, store):
        loss = HeldOutLoss(config, session, store, draws=8)
        assert loss.of_file(None).mean == pytest.approx(logged[0]["base"], rel=1e-5)
        for path, point in zip([*result.checkpoints, result.lora], logged[1:], strict=True):
            assert loss.of_file(path).mean == pytest.approx(point["loss"], rel=1e-5)
    assert logged[1]["loss"] != logged[0]["loss"]


def outside(config):
    """The names that a run of this config holds out."""
    with opened(config) as (_, store):
        return [store.examples[index].name for index in held_out.split(store, config)]


class StopAfter:
    """Stops a run after a step: pass it as ``report`` and its method as ``should_stop``."""

    def __init__(self, step):
        self.last = step
        self.steps = 0

    def __call__(self, event):
        # A step is reported with the next one.
        self.steps = event["step"] + 1 if event["event"] == "step" else self.steps

    def reached(self):
        return self.steps >= self.last


def stopped(config, step):
    stop = StopAfter(step)
    result = train(config, report=stop, should_stop=stop.reached)
    assert result.stopped and result.steps == step
    return result


def test_measuring_changes_nothing_of_the_training(config, folder, tmp_path):
    measured_run = train(config)
    names = {path.name for path in folder.iterdir() if path.suffix != ".txt"} - set(outside(config))
    plain = replace(config, validation_share=0.0, output_dir=str(tmp_path / "plain"))
    assert same_tensors(measured_run.lora, train(plain, names=names).lora)
    assert measured(tmp_path / "plain") == []


def test_neither_copies_nor_originals_are_held_out(config):
    chosen = []
    with opened(config) as (_, store):
        for seed in range(8):
            indices = held_out.split(store, replace(config, seed=seed, validation_share=0.5))
            chosen.append({store.examples[index].name for index in indices})
    assert all(len(names) == 9 for names in chosen)
    assert not {"00.png", "01.png", "copy-0.webp", "copy-1.webp"} & set().union(*chosen)
    assert len(set().union(*chosen)) == 18


def test_of_few_images_none_is_held_out_and_early_stopping_says_so(data, checkpoint, tmp_path):
    result = train(shop.make_config(data, checkpoint, tmp_path / "out", early_stopping=2))
    assert measured(tmp_path / "out") == result.held_out == []
    assert [text for text in result.warnings if text.startswith("early_stopping has no effect")]


def test_the_file_holds_what_was_measured_up_to_it(config, tmp_path):
    result = train(config)
    points = [[one["step"], one["loss"], one["base"]] for one in measured(tmp_path / "out")]
    for path, number in ((result.checkpoints[0], 2), (result.lora, 4)):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata["lora_trainer_held_out_loss"]) == points[:number]
        assert metadata["ss_num_validation_images"] == "2"


def test_stopped_and_resumed_measures_the_same(config, tmp_path):
    whole = train(config)
    part = replace(config, output_dir=str(tmp_path / "part"))
    stopped(part, 7)
    resumed = train(part, resume=True)
    assert same_tensors(whole.lora, resumed.lora)
    assert resumed.held_out == whole.held_out
    assert [one["step"] for one in measured(tmp_path / "part")] == [0, 5, 10, 15]


@pytest.fixture
def falling_then_rising(monkeypatch):
    """Held-out losses by step: the lowest after the second epoch."""
    losses = {0: 1.0, 5: 0.8, 10: 0.5, 15: 0.6, 20: 0.55, 25: 0.52, 30: 0.1}
    monkeypatch.setattr(validation.Validation, "_measure", lambda self: losses[self._context.progress.step])


def test_a_run_ends_early_with_the_best_weights(config, tmp_path, falling_then_rising):
    result = train(replace(config, early_stopping=3, epochs=20))
    assert (result.steps, result.stopped, result.ended_early) == (25, False, True)
    (ended,) = [event for event in events(tmp_path / "out") if event["event"] == "ended_early"]
    assert (ended["step"], ended["best"], ended["epoch"]) == (25, 10, 2)
    assert result.lora.name == "out.safetensors" and result.published == result.lora
    assert same_tensors(result.lora, tmp_path / "out" / "out-000002.safetensors")
    assert result.suggested.checkpoint == str(result.lora)
    with safe_open(result.lora, "pt") as file:
        assert (file.metadata()["ss_steps"], file.metadata()["ss_epoch"]) == ("10", "2")


@pytest.fixture
def halved_strength_is_better(monkeypatch):
    """The held-out loss of every file at strength 0.6 is 0.4, at 0.8 it is 0.7."""
    losses = {0.6: 0.4, 0.8: 0.7}
    monkeypatch.setattr(validation.Validation, "of_file", lambda self, lora, strength: losses[strength])


def test_the_checkpoint_with_the_lowest_loss_is_suggested_with_the_best_strength(
    config, tmp_path, falling_then_rising, halved_strength_is_better
):
    result = train(replace(config, epochs=3))
    second = tmp_path / "out" / "out-000002.safetensors"
    assert (result.suggested.checkpoint, result.suggested.strength) == (str(second), 0.6)
    assert result.suggested.reason.startswith("Images that were not trained on are predicted best by epoch 2 at")
    (logged,) = [event for event in events(tmp_path / "out") if event["event"] == "suggested"]
    assert logged["checkpoint"] == str(second)


def test_a_suggestion_measures_the_file_at_strengths(config):
    result = train(config)
    assert result.suggested.checkpoint in {str(path) for path in (*result.checkpoints, result.lora)}
    best = min(result.held_out[1:], key=lambda point: point.loss)
    assert f"epoch {best.epoch}" in result.suggested.reason


def test_of_a_long_run_the_suggested_file_is_examined(config, tmp_path, monkeypatch):
    monkeypatch.setattr(suggested, "_WORTH_EXAMINING", 20)
    result = train(replace(config, epochs=1))
    (examined,) = [event for event in events(tmp_path / "out") if event["event"] == "examined"]
    assert examined["checkpoint"] == result.suggested.checkpoint
    assert -1 <= examined["recall"] <= 1 and examined["pull"] > 0
    assert examined["outlines"] > 0.25


def test_a_suggested_file_that_seems_to_fall_apart_is_warned_of(config, tmp_path, monkeypatch):
    monkeypatch.setattr(suggested, "_WORTH_EXAMINING", 20)
    monkeypatch.setattr(findings, "_OUTLINES", 2)
    result = train(replace(config, epochs=1))
    (text,) = [one for one in result.warnings if "dissolved" in one]
    assert "epoch 1 draws" in text and result.suggested.checkpoint


def test_a_run_whose_files_cannot_be_compared_for_want_of_memory_is_done_all_the_same(config, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(validation.Validation, "of_file", no_memory)
    result = train(replace(config, epochs=1))
    assert result.published == result.lora and result.lora.is_file() and result.suggested is None
    assert [text for text in result.warnings if text.startswith("Out of memory while the checkpoints were compared")]


def test_pruning_spares_the_best_checkpoint(config, falling_then_rising):
    result = train(replace(config, epochs=5, keep_checkpoints=1))
    assert [path.name for path in result.checkpoints] == ["out-000002.safetensors", "out-000004.safetensors"]
    assert all(path.is_file() for path in result.checkpoints)
    assert result.suggested.checkpoint == str(result.checkpoints[0])


def test_a_run_that_goes_on_getting_better_is_not_ended(config, falling_then_rising):
    result = train(replace(config, early_stopping=4, epochs=6))
    assert (result.steps, result.ended_early) == (30, False)
    assert [path.name for path in result.checkpoints][-1] == "out-000005.safetensors"
    assert not same_tensors(result.lora, result.checkpoints[1])


def test_early_stopping_survives_a_stop_at_any_step(config, tmp_path, falling_then_rising):
    config = replace(config, early_stopping=3, epochs=20)
    whole = train(config)
    for step in (12, 24):
        part = replace(config, output_dir=str(tmp_path / f"stopped-{step}"))
        stopped(part, step)
        resumed = train(part, resume=True)
        assert (resumed.steps, resumed.ended_early) == (25, True)
        assert same_tensors(whole.lora, resumed.lora)


def test_a_schedule_free_run_measures_and_keeps_the_weights_it_would_save(config, falling_then_rising):
    pytest.importorskip("schedulefree")
    result = train(replace(config, early_stopping=3, epochs=20, optimizer="schedulefree", learning_rate=1e-3))
    assert same_tensors(result.lora, result.checkpoints[1])


@pytest.mark.parametrize("visits", [18, 38, 90, 500])
@pytest.mark.parametrize("epochs", [4, 10, 100])
@pytest.mark.parametrize("save_epochs", [0, 1, 5])
def test_all_measurements_take_at_most_a_twentieth_of_the_time(visits, epochs, save_epochs):
    images = max(2, min(16, visits // 9))
    draws, every = cost(visits, epochs, images, save_epochs)
    assert max(8, images) <= draws <= 32
    measurements = 3 + -(-epochs // every)
    # An image in a step takes as long as 2.5 predictions; one after the last step there is in any run.
    assert measurements * draws <= 0.05 * 2.5 * visits * epochs or measurements == 4
    assert every == 1 or save_epochs in (0, 1) or every % save_epochs == 0


def test_more_memory_than_there_is_is_not_asked_for(config, tmp_path, monkeypatch):
    sizes = []
    original = HeldOutLoss._losses

    def losses(self, visits, rounds):
        sizes.append(len(visits))
        if len(visits) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(self, visits, rounds)

    monkeypatch.setattr(HeldOutLoss, "_losses", losses)
    result = train(replace(config, epochs=1))
    assert len(result.held_out) == 2 and set(sizes) == {1, 2, 4} and sizes.count(4) == 1


def test_a_state_from_before_images_were_held_out_resumes_without(config, tmp_path):
    old = replace(config, validation_share=0.0)
    stopped(old, 5)
    for path in (tmp_path / "out" / "state").glob("*/state.json"):
        facts = json.loads(path.read_text())
        del facts["identity"]["validation_share"], facts["identity"]["early_stopping"]
        path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"validation_share was 0\.0 when this state was saved and is 0\.1 now"):
        train(config, resume=True)
    assert train(old, resume=True).steps == 18
    assert load_file(tmp_path / "out" / "out.safetensors")
