"""A run never ends well with a bad model, shares its folder with no other, and overwrites only what is its own."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_scripts_ext import crash, files
from lora_scripts_ext.errors import TrainingError, UserError
from lora_scripts_ext.hosts.standalone import StandaloneHost
from lora_scripts_ext.hosts.standalone_session import StandaloneSession
from lora_scripts_ext.jobs.job import Job
from lora_scripts_ext.owner import Owner, tag_is_alive
from lora_scripts_ext.training import lock, loss_scale, publication, run, state

from . import models, shop
from .test_run import ROOT, command, events, same_tensors, train, write_yaml


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors", "sd1")


def finite(folder: Path) -> bool:
    """Whether all tensors and JSON below a folder hold finite numbers only."""
    for path in folder.rglob("*.safetensors"):
        if not all(torch.isfinite(tensor).all() for tensor in load_file(path).values() if tensor.is_floating_point()):
            return False
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json*")]
    return not any(word in text for text in texts for word in ("NaN", "Infinity"))


def diverging(monkeypatch, at: int) -> None:
    """From predicting step ``at`` (1-based) on, the model answers NaN."""
    predict, calls = StandaloneSession.predict, []

    def broken(self, noisy, timesteps, conditioning):
        calls.append(0)
        return predict(self, noisy, timesteps, conditioning) * (math.nan if len(calls) >= at else 1)

    monkeypatch.setattr(StandaloneSession, "predict", broken)


def test_a_rate_at_which_the_training_diverges_ends_with_a_sentence_and_no_lora(data, checkpoint, tmp_path):
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
    whole = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    config = shop.make_config(data, checkpoint, tmp_path / "out", **values)
    with monkeypatch.context() as context:
        diverging(context, at=8)
        with pytest.raises(TrainingError, match=r"loss is not a finite number at step 8.*step-00000006 is kept"):
            train(config)
    assert [event["step"] for event in events(tmp_path / "out") if event["event"] == "step"] == list(range(1, 8))
    assert finite(tmp_path / "out")
    assert same_tensors(train(config, resume=True).lora, whole.lora)


def test_weights_that_are_not_finite_are_not_written_even_if_the_losses_were(data, checkpoint, tmp_path, monkeypatch):
    after_step = run.Run._after_step

    def spoil(self, epoch, stopped):
        if self.step == self.total_steps:
            with torch.no_grad():
                self.adapter.weights[7] = math.inf
        after_step(self, epoch, stopped)

    monkeypatch.setattr(run.Run, "_after_step", spoil)
    with pytest.raises(TrainingError, match="weights are no finite numbers after step 6"):
        train(shop.make_config(data, checkpoint, tmp_path / "out", save_epochs=1))
    assert not (tmp_path / "out" / "out.safetensors").exists()
    assert finite(tmp_path / "out")


def test_an_optimizer_state_that_is_not_finite_is_not_saved(tmp_path):
    broken = state.State(3, {}, torch.zeros(4), {"state": {0: {"exp_avg_sq": torch.tensor([1.0, math.inf])}}}, {})
    with pytest.raises(TrainingError, match="After step 3"):
        state.save(tmp_path / "state", broken, {})
    assert not list(tmp_path.iterdir())


def test_a_failed_job_says_so_in_valid_json(data, checkpoint, tmp_path, monkeypatch):
    diverging(monkeypatch, at=2)
    job = Job(shop.make_config(data, checkpoint, tmp_path / "out"), StandaloneHost())
    job.start()
    job.join(120)
    report = json.loads(json.dumps(job.report(), allow_nan=False))
    assert report["status"] == "failed"
    assert "diverged" in report["error"]
    assert not (tmp_path / "out" / "crash.log").exists()


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


def test_a_second_run_into_the_same_folder_is_refused_and_the_first_goes_on(data, checkpoint, tmp_path):
    values = {"epochs": 400, "save_precision": "fp32"}
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "out", **values))
    first = subprocess.Popen(command(config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        log = tmp_path / "out" / "events.jsonl"
        while first.poll() is None and not (log.exists() and '"event": "step"' in log.read_text(encoding="utf-8")):
            time.sleep(0.01)
        holder = json.loads((tmp_path / "out" / lock.NAME).read_text(encoding="utf-8"))
        assert holder["pid"] == first.pid
        assert holder["started"]
        before = log.read_text(encoding="utf-8")
        second = subprocess.run(command(config), capture_output=True, text=True)
        assert second.returncode == 2
        assert f"is being written by another run (process {first.pid} on " in second.stderr
        resumed = subprocess.run(command(config, "--resume-if-possible"), capture_output=True, text=True)
        assert resumed.returncode == 2
        assert log.read_text(encoding="utf-8").startswith(before)
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)
    assert first.returncode == 130
    assert not (tmp_path / "out" / lock.NAME).exists()


def test_two_runs_in_one_process_cannot_share_a_folder(tmp_path):
    with lock.locked(tmp_path / "out"), pytest.raises(UserError, match="another run"), lock.locked(tmp_path / "out"):
        pass
    with lock.locked(tmp_path / "out"):
        assert (tmp_path / "out" / lock.NAME).exists()
    assert not (tmp_path / "out").exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from lora_scripts_ext.training import lock\n"
        "with lock.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout.readline().strip() == b"held"
    with pytest.raises(UserError, match=f"process {holder.pid}"), lock.locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / lock.NAME).exists()
    with lock.locked(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text(encoding="utf-8"))["pid"] == os.getpid()


@pytest.mark.parametrize(("silent", "refused"), [(10, True), (3600, False)])
def test_the_lock_of_another_machine_counts_while_it_is_touched(tmp_path, silent, refused):
    path = tmp_path / lock.NAME
    path.write_text(json.dumps({"pid": 1, "started": "x", "host": "another-machine"}))
    then = time.time() - silent
    os.utime(path, (then, then))
    with (
        pytest.raises(UserError, match="process 1 on another-machine") if refused else contextlib.nullcontext(),
        lock.locked(tmp_path),
    ):
        pass


def test_where_the_file_system_has_no_locks_the_named_process_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_system_lock", lambda handle: None)
    path = tmp_path / lock.NAME
    mine = Owner.current()
    dead = {"pid": mine.pid, "started": "another start of the same process id", "host": mine.host}
    path.write_text(json.dumps(dead))
    with lock.locked(tmp_path):
        pass
    path.write_text(json.dumps({"pid": mine.pid, "started": mine.started, "host": mine.host}))
    with pytest.raises(UserError, match="another run"), lock.locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_lock_stops_nobody(tmp_path, content):
    (tmp_path / lock.NAME).write_text(content)
    with lock.locked(tmp_path):
        pass


def test_a_run_that_cannot_start_leaves_no_folder(data, tmp_path):
    with pytest.raises(UserError, match=r"no\.safetensors"):
        train(shop.make_config(data, tmp_path / "no.safetensors", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_partial_files_of_the_living_stay_and_those_of_the_dead_go(tmp_path):
    assert tag_is_alive(Owner.current().tag())
    writer = subprocess.run(
        [sys.executable, "-c", "from lora_scripts_ext.owner import Owner; print(Owner.current().tag())"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    dead = tmp_path / f".lora-trainer-{writer.stdout.strip()}-abc_.tmp"
    dead.write_bytes(b"half")
    (tmp_path / f".lora-trainer-{writer.stdout.strip()}-folder.tmp").mkdir()
    foreign = tmp_path / ".lora-trainer-00000000-1-11111111-abc.tmp"
    foreign.write_bytes(b"half")
    other = tmp_path / ".something.tmp"
    other.write_bytes(b"not ours")
    with files.replacing(tmp_path / "target") as temporary:
        temporary.write_bytes(b"whole")
        os.utime(temporary, (0, 0))
        files.sweep(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([temporary.name, foreign.name, other.name])
    os.utime(foreign, (0, 0))
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "target"]


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    path = tmp_path / ("x" * 243 + ".safetensors")
    files.write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole"


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
    monkeypatch.setattr(run, "_clock", lambda: 25.0 * next(clock))
    assert train(config).steps == 6
    assert saved[-1] == 6
    assert all(after - before <= 2 for before, after in zip([0, *saved], saved, strict=False))


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


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "tensors.safetensors"),
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
    whole = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    config = shop.make_config(data, checkpoint, tmp_path / "out", **values)
    stop = iter([False] * 4 + [True] * 100)
    stopped = train(config, should_stop=lambda: (tmp_path / "out" / "events.jsonl").exists() and next(stop))
    assert stopped.steps == 5
    older, newest = state.saved(tmp_path / "out" / "state")
    assert (older.name, newest.name) == ("step-00000004", "step-00000005")
    damage(newest)
    heard = []
    resumed = train(config, resume=True, report=heard.append)
    (warning,) = [event["text"] for event in heard if event["event"] == "warning"]
    assert "step-00000005 is damaged" in warning
    assert "at step 4" in warning
    assert same_tensors(whole.lora, resumed.lora)
    for one in state.saved(tmp_path / "out" / "state"):
        (one / "state.json").write_text("")
    with pytest.raises(UserError, match="there is no other"):
        train(config, resume=True)


def test_a_state_saved_anew_at_the_same_step_is_never_missing(tmp_path, monkeypatch):
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
    whole = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    stopped_at(shop.make_config(data, checkpoint, tmp_path / "out", **values), 4)
    resumed = train(shop.make_config(data, checkpoint, tmp_path / "out", **{**values, **changes}), resume=True)
    assert resumed.steps == whole.steps
    if not {"fp8_base", "mixed_precision"} & changes.keys():
        one, other = load_file(whole.lora), load_file(resumed.lora)
        for key in one:
            torch.testing.assert_close(other[key], one[key], rtol=1e-3, atol=1e-5)


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


def test_with_a_constant_rate_a_run_may_be_made_longer(data, checkpoint, tmp_path):
    values = {"lr_scheduler": "constant", "save_precision": "fp32"}
    whole = train(shop.make_config(data, checkpoint, tmp_path / "whole", epochs=4, **values))
    train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=2, **values))
    longer = train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=4, **values), resume=True)
    assert same_tensors(whole.lora, longer.lora)


def test_a_state_of_before_is_refused_with_a_sentence(tmp_path):
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
    found = state.load(tmp_path, {}, pytest.fail).optimizer["param_groups"][0]
    assert found == {"growth_rate": math.inf, "betas": [0.9, 0.99], "lr": 1.0}


def lora(path: Path, value: float, card: dict | None = None, image: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.full((2,), value)}, path)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    if image is not None:
        path.with_suffix(".png").write_bytes(image)
    return path


def test_a_lora_of_someone_else_is_backed_up_and_the_user_informed(tmp_path):
    theirs = lora(tmp_path / "Lora" / "brand.safetensors", 1, {"notes": "bought"}, b"theirs")
    before = theirs.read_bytes()
    warnings = []
    mine = lora(tmp_path / "run" / "brand.safetensors", 2, {"notes": ""}, b"ours")
    placed = publication.publish(mine, tmp_path / "Lora", warnings.append)
    assert placed.read_bytes() == mine.read_bytes()
    (warning,) = warnings
    (kept,) = (tmp_path / "Lora").glob("brand.safetensors.*.bak")
    assert kept.name in warning
    assert kept.read_bytes() == before
    (card,) = (tmp_path / "Lora").glob("brand.json.*.bak")
    assert json.loads(card.read_text()) == {"notes": "bought"}
    (image,) = (tmp_path / "Lora").glob("brand.png.*.bak")
    assert image.read_bytes() == b"theirs"
    assert placed.with_suffix(".png").read_bytes() == b"ours"
    assert "bought" not in placed.with_suffix(".json").read_text()


def test_our_own_lora_is_replaced_and_what_the_user_chose_stays(tmp_path):
    first = lora(tmp_path / "run" / "brand.safetensors", 1, {"notes": ""}, b"first")
    placed = publication.publish(first, tmp_path / "Lora", pytest.fail)
    placed.with_suffix(".json").write_text(json.dumps({"notes": "my own"}))
    second = lora(tmp_path / "run" / "brand.safetensors", 2, {"notes": ""}, b"second")
    publication.publish(second, tmp_path / "Lora", pytest.fail)
    assert placed.read_bytes() == second.read_bytes()
    assert placed.with_suffix(".png").read_bytes() == b"second"
    assert json.loads(placed.with_suffix(".json").read_text())["notes"] == "my own"
    placed.with_suffix(".png").write_bytes(b"chosen by the user")
    third = lora(tmp_path / "run" / "brand.safetensors", 3, {"notes": ""}, b"third")
    publication.publish(third, tmp_path / "Lora", pytest.fail)
    assert placed.read_bytes() == third.read_bytes()
    assert placed.with_suffix(".png").read_bytes() == b"chosen by the user"
    assert not list((tmp_path / "Lora").glob("*.bak"))


def test_a_card_that_is_none_is_moved_away_rather_than_losing_the_training(tmp_path):
    (tmp_path / "Lora").mkdir()
    (tmp_path / "Lora" / "brand.json").write_text("{")
    warnings = []
    placed = publication.publish(
        lora(tmp_path / "run" / "brand.safetensors", 1, {"notes": ""}), tmp_path / "Lora", warnings.append
    )
    assert json.loads(placed.with_suffix(".json").read_text())["notes"] == ""
    (kept,) = (tmp_path / "Lora").glob("brand.json.*.bak")
    assert kept.read_text() == "{"
    assert kept.name in warnings[0]


def test_a_run_backs_up_what_it_finds_where_it_publishes(data, checkpoint, tmp_path):
    theirs = lora(tmp_path / "Lora" / "out.safetensors", 1)

    class Elsewhere(StandaloneHost):
        def lora_dir(self) -> Path:
            return tmp_path / "Lora"

    config = shop.make_config(data, checkpoint, tmp_path / "out", epochs=1)
    heard = []
    for seed in (1, 2):
        config = shop.make_config(data, checkpoint, tmp_path / "out", epochs=1, seed=seed)
        result = run.train(config, Elsewhere(), report=heard.append)
        assert result.lora == theirs
        assert same_tensors(result.lora, tmp_path / "out" / "out.safetensors")
    assert len(list((tmp_path / "Lora").glob("*.bak"))) == 1
    assert sum("was not written by this run" in event.get("text", "") for event in heard) == 1


def test_captions_can_be_kept_out_of_everything_beside_the_lora(data, checkpoint, tmp_path):
    values = {"epochs": 1, "preview_epochs": 1, "preview_steps": 1, "save_epochs": 1}
    for private in (False, True):
        out = tmp_path / f"{private}"
        train(shop.make_config(data, checkpoint, out, save_captions=not private, **values))
        text = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file() and "cache" not in path.parts)
        images = list(out.rglob("*.png"))
        assert len(images) == 5
        parameters = [Image.open(path).info["parameters"] for path in images]
        assert ("on a table" in " ".join(parameters)) is not private
        assert (b"on a table" in text) is not private
        assert all("Steps: 1, Sampler: Euler" in one for one in parameters)


def test_files_set_aside_twice_in_a_second_do_not_overwrite_each_other(data, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    for seed in range(3):
        train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=1, seed=seed))
    assert len(list((tmp_path / "out" / "previous").glob("*/out.safetensors"))) == 2


def test_a_full_disk_is_a_sentence():
    assert crash.sentence(OSError(28, "No space left on device"), None).startswith("the disk is full")
