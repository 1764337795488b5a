"""Whole runs: a config and a folder of images in, a LoRA out, also after crashes and stops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from lora_scripts_ext import crash
from lora_scripts_ext.commands import train as train_command
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import run, state

from . import models, shop

ROOT = Path(__file__).resolve().parent.parent


def train(config, **options):
    return run.train(config, StandaloneHost(), **options)


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def same_tensors(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# Without a larger epsilon AdamW makes whole steps of gradients that are nothing but rounding.
STEADY = {"learning_rate": 1e-3, "optimizer_args": {"eps": 1e-4}, "lora_dropout": 0.2}


def assert_close(one: Path, other: Path) -> None:
    """Two LoRAs differ by rounding only, and are trained."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, atol=1e-6, rtol=1e-4)
    assert max(tensor.abs().max() for key, tensor in first.items() if key.endswith("lora_up.weight")) > 1e-3


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_folder_of_images_becomes_a_lora(family, data, tmp_path):
    model = tmp_path / "model.safetensors"
    models.write_checkpoint(model, family)
    result = train(shop.make_config(data, model, tmp_path / "out", save_epochs=1, preview_epochs=2, preview_steps=2))
    assert result.lora == tmp_path / "out" / "out.safetensors"
    assert [path.name for path in result.checkpoints] == ["out-000001.safetensors"]
    tensors = load_file(result.lora)
    assert any(tensor.abs().max() > 0 for key, tensor in tensors.items() if key.endswith("lora_up.weight"))
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    logged = [event for event in events(tmp_path / "out") if event["event"] == "step"]
    # Four square and two wide images in batches of two: three steps an epoch.
    assert [event["step"] for event in logged] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "learning_rate", "rate", "memory_mb"} <= logged[0].keys()
    assert result.loss == pytest.approx(sum(event["loss"] for event in logged[3:]) / 3)
    previews = sorted(path.name for path in (tmp_path / "out" / "previews").iterdir())
    assert previews == [f"out-e{epoch:04d}-{index:02d}.png" for epoch in (0, 2) for index in (0, 1)]
    text = Image.open(tmp_path / "out" / "previews" / previews[2]).info["parameters"]
    assert text.startswith(
        "brnd, a phone, on a table, soft light <lora:out:1>\nSteps: 2, Sampler: Euler, CFG scale: 7.0"
    )
    assert json.loads((tmp_path / "out" / "out.json").read_text(encoding="utf-8"))["activation text"] == "brnd"
    assert (tmp_path / "out" / "out.png").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adafactor"},
        {"optimizer": "lion", "learning_rate": 1e-4},
        {"optimizer": "prodigy", "learning_rate": 1.0},
        {"optimizer": "prodigy", "learning_rate": None, "train_text_encoder": True, "target": "attention"},
        {"optimizer": "schedulefree"},
        {"target": "full", "gradient_checkpointing": True},
        {"target": "attention", "train_text_encoder": True},
        {"shuffle_caption": True, "caption_dropout": 0.5, "flip": True, "crop": "random", "lora_dropout": 0.2},
        {"loss": "huber", "min_snr_gamma": 5, "noise_offset": 0.05, "lr_warmup_steps": 2, "mixed_precision": "bf16"},
        {"mixed_precision": "fp16", "target": "attention"},
        {"gradient_accumulation_steps": 2, "lr_scheduler": "cosine_with_restarts", "lr_cycles": 2},
        {"prior_preservation": "class_prompt", "shuffle_caption": True, "lora_dropout": 0.2},
        {"prior_preservation": "class_prompt", "train_text_encoder": True, "gradient_checkpointing": True},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_stopped_and_resumed_ends_with_the_same_weights(changes, data, checkpoint, tmp_path):
    settings = {"epochs": 4, "save_precision": "fp32", "gradient_accumulation_steps": 1, "save_steps": 2, **changes}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **settings))
    config = shop.make_config(data, checkpoint, tmp_path / "stopped", **settings)
    stop_at = uninterrupted.steps // 2 + 1
    calls = iter(range(1, 1000))
    preparing = []

    def should_stop() -> bool:
        return not preparing and (tmp_path / "stopped" / "events.jsonl").exists() and next(calls) == stop_at

    stopped = train(config, should_stop=should_stop)
    assert stopped.stopped
    assert stopped.steps == stop_at
    resumed = train(config, resume=True)
    assert resumed.steps == uninterrupted.steps
    assert same_tensors(uninterrupted.lora, resumed.lora)
    assert resumed.loss == uninterrupted.loss
    steps = [event["step"] for event in events(tmp_path / "stopped") if event["event"] == "step"]
    assert steps == list(range(1, uninterrupted.steps + 1))


def starved(monkeypatch, most: int) -> list[int]:
    """A device with memory for ``most`` images at once; returns the batch size of each call."""
    batch_sizes, predict = [], StandaloneSession.predict

    def tight(self, noisy, timesteps, conditioning):
        batch_sizes.append(len(noisy))
        if torch.is_grad_enabled() and len(noisy) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return predict(self, noisy, timesteps, conditioning)

    monkeypatch.setattr(StandaloneSession, "predict", tight)
    return batch_sizes


def test_out_of_memory_repeats_the_step_with_fewer_images_at_once(data, checkpoint, tmp_path, monkeypatch):
    # Eight square and four wide visits an epoch: every step is one batch of four.
    settings = {"batch_size": 4, "num_repeats": 2, "epochs": 2, "save_precision": "fp32", **STEADY}
    roomy = train(shop.make_config(data, checkpoint, tmp_path / "roomy", **settings))
    batch_sizes = starved(monkeypatch, 1)
    reported = []
    tight = train(shop.make_config(data, checkpoint, tmp_path / "tight", **settings), report=reported.append)
    # 4, then 2, then 1, and no more tries after that.
    assert batch_sizes[:3] == [4, 2, 1]
    assert set(batch_sizes[3:]) == {1}
    warnings = [event["text"] for event in reported if event["event"] == "warning"]
    assert [text.split(";")[0] for text in warnings] == [
        "Out of memory with 4 images", "Out of memory with 2 images",
    ]  # fmt: skip
    assert tight.steps == roomy.steps
    assert_close(roomy.lora, tight.lora)
    stop = iter([False, False, True])
    stopped = shop.make_config(data, checkpoint, tmp_path / "stopped", **settings)
    assert train(stopped, should_stop=lambda: (tmp_path / "stopped" / "events.jsonl").exists() and next(stop)).stopped
    batch_sizes.clear()
    resumed = train(stopped, resume=True)
    assert set(batch_sizes) == {1}
    assert same_tensors(tight.lora, resumed.lora)


def test_out_of_memory_encodes_fewer_images_at_once(data, checkpoint, tmp_path, monkeypatch):
    encode, batch_sizes = StandaloneSession.encode_images, []

    def tight(self, pixels):
        batch_sizes.append(len(pixels))
        if len(pixels) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(self, pixels)

    roomy = train(shop.make_config(data, checkpoint, tmp_path / "roomy", save_precision="fp32", **STEADY))
    monkeypatch.setattr(StandaloneSession, "encode_images", tight)
    tight_run = train(shop.make_config(data, checkpoint, tmp_path / "tight", save_precision="fp32", **STEADY))
    assert {1, 2, 4} <= set(batch_sizes)
    one, other = load_file(roomy.lora), load_file(tight_run.lora)
    for key in one:
        torch.testing.assert_close(other[key], one[key], rtol=1e-3, atol=1e-5)


def test_out_of_memory_skips_a_preview_and_training_continues(data, checkpoint, tmp_path, monkeypatch):
    settings = {"epochs": 2, "save_precision": "fp32"}
    plain = train(shop.make_config(data, checkpoint, tmp_path / "plain", **settings))

    def tight(self, request, lora=None):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(StandaloneSession, "preview", tight)
    reported = []
    config = shop.make_config(data, checkpoint, tmp_path / "out", preview_epochs=1, **settings)
    result = train(config, report=reported.append)
    warnings = [event["text"] for event in reported if event["event"] == "warning"]
    assert len(warnings) == 3
    assert all("Out of memory while drawing previews" in text for text in warnings)
    assert result.previews == []
    assert same_tensors(plain.lora, result.lora)


def test_out_of_memory_with_one_image_ends_the_run(data, checkpoint, tmp_path, monkeypatch):
    starved(monkeypatch, 0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        train(shop.make_config(data, checkpoint, tmp_path / "out", batch_size=2))
    assert crash.sentence(RuntimeError("DefaultCPUAllocator: can't allocate memory"), None).startswith("out of memory")


def test_two_runs_are_the_same_and_another_seed_is_not(data, checkpoint, tmp_path):
    one = train(shop.make_config(data, checkpoint, tmp_path / "one"))
    two = train(shop.make_config(data, checkpoint, tmp_path / "two"))
    other = train(shop.make_config(data, checkpoint, tmp_path / "other", seed=7))
    assert same_tensors(one.lora, two.lora)
    assert not same_tensors(one.lora, other.lora)


def test_half_precision_steps_as_full_precision_does(data, checkpoint, tmp_path):
    """fp16 runs under a loss scale, without which small gradients would vanish."""
    full, half = (
        train(shop.make_config(data, checkpoint, tmp_path / kind, mixed_precision=kind, epochs=1, target="attention"))
        for kind in ("fp32", "fp16")
    )
    assert half.loss == pytest.approx(full.loss, rel=1e-2)
    one, other = load_file(full.lora), load_file(half.lora)
    ups = [key for key in one if key.endswith("lora_up.weight")]
    expected, actual = (torch.cat([tensors[key].float().flatten() for key in ups]) for tensors in (one, other))
    assert torch.nn.functional.cosine_similarity(expected, actual, dim=0) > 0.9


def test_a_high_learning_rate_trains(data, checkpoint, tmp_path):
    result = train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=40, learning_rate=5e-3, lora_rank=8))
    losses = [event["loss"] for event in events(tmp_path / "out") if event["event"] == "step"]
    first, last = losses[:12], losses[-12:]
    assert result.steps == 120
    assert sum(last) < 0.9 * sum(first)


def test_a_new_run_sets_the_old_ones_files_aside(data, checkpoint, tmp_path):
    first = train(shop.make_config(data, checkpoint, tmp_path / "out"))
    before = first.lora.read_bytes()
    other = tmp_path / "out" / "out-v2.safetensors"
    other.write_bytes(b"another LoRA")
    train(shop.make_config(data, checkpoint, tmp_path / "out", seed=9))
    (kept,) = (tmp_path / "out" / "previous").glob("*/out.safetensors")
    assert kept.read_bytes() == before
    assert other.exists()
    assert first.lora.read_bytes() != before


def test_only_the_newest_checkpoints_are_kept(data, checkpoint, tmp_path):
    result = train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=5, save_epochs=1, keep_checkpoints=2))
    names = sorted(path.name for path in (tmp_path / "out").glob("out-*.safetensors"))
    assert names == ["out-000003.safetensors", "out-000004.safetensors"]
    assert [path.name for path in result.checkpoints] == names
    assert len(list((tmp_path / "out" / "state").iterdir())) == 2


def test_init_lora_continues_from_a_file(data, checkpoint, tmp_path):
    first = train(shop.make_config(data, checkpoint, tmp_path / "one", save_precision="fp32"))
    second = train(
        shop.make_config(
            data,
            checkpoint,
            tmp_path / "two",
            init_lora=str(first.lora),
            learning_rate=1e-12,
            weight_decay=0,
            save_precision="fp32",
            optimizer="adafactor",
        )
    )
    before, after = load_file(first.lora), load_file(second.lora)
    for key, tensor in before.items():
        torch.testing.assert_close(after[key], tensor, atol=1e-6, rtol=0)


def test_a_state_of_other_settings_or_images_is_refused(data, checkpoint, tmp_path):
    config = shop.make_config(data, checkpoint, tmp_path / "out", save_steps=1)
    train(config)
    with pytest.raises(UserError, match=r"learning_rate was 0\.001 when this state was saved and is 0\.002 now"):
        train(shop.make_config(data, checkpoint, tmp_path / "out", save_steps=1, learning_rate=2e-3), resume=True)
    fewer = shop.write_images(tmp_path / "fewer", count=4)
    with pytest.raises(UserError, match="the images and captions changed"):
        train(shop.make_config(fewer, checkpoint, tmp_path / "out", save_steps=1), resume=True)


def test_a_crash_while_a_state_is_written_leaves_the_one_before(data, checkpoint, tmp_path, monkeypatch):
    config = shop.make_config(data, checkpoint, tmp_path / "out", save_steps=2, save_precision="fp32")
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", save_precision="fp32"))
    real, calls = state.save_file, []

    def fail_the_second_time(tensors, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half a fi")
            raise OSError("no space left on device")
        real(tensors, path)

    monkeypatch.setattr(state, "save_file", fail_the_second_time)
    with pytest.raises(OSError, match="no space"):
        train(config)
    folder = tmp_path / "out" / "state"
    assert [path.name for path in folder.iterdir()] == ["step-00000002"]
    monkeypatch.setattr(state, "save_file", real)
    assert same_tensors(train(config, resume=True).lora, uninterrupted.lora)


def test_an_exception_in_the_middle_leaves_no_trace_in_the_model(data, checkpoint, tmp_path):
    def fail(event):
        if event["event"] == "step":
            raise RuntimeError("the observer broke")

    generator_before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="observer"):
        train(shop.make_config(data, checkpoint, tmp_path / "out"), report=fail)
    assert torch.equal(torch.random.get_rng_state(), generator_before)


def test_tensorboard_gets_every_step(data, checkpoint, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=1, tensorboard=True))
    board = EventAccumulator(str(tmp_path / "out" / "tensorboard")).Reload()
    logged = [event for event in events(tmp_path / "out") if event["event"] == "step"]
    assert [point.step for point in board.Scalars("loss")] == [1, 2, 3]
    assert [point.value for point in board.Scalars("loss")] == pytest.approx([event["loss"] for event in logged])


def test_a_crash_is_one_sentence_and_exit_code_1(data, checkpoint, tmp_path, monkeypatch, capsys):
    def crash(*_, **__):
        raise RuntimeError("the model fell over\nwith a long story")

    monkeypatch.setattr(run, "train", crash)
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "out"))
    assert train_command.main(["--config", str(config)]) == 1
    stderr = capsys.readouterr().err
    log = tmp_path / "out" / "crash.log"
    assert stderr == f"error: RuntimeError: the model fell over; the details are in {log}.\n"
    assert "a long story" in log.read_text(encoding="utf-8")


def test_broken_images_are_named_and_skipped(checkpoint, tmp_path):
    data = shop.write_images(tmp_path / "data")
    (data / "broken.jpg").write_bytes((data / "00.png").read_bytes()[:200])
    result = train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=1))
    assert [one.name for one in result.skipped] == ["broken.jpg"]
    assert result.steps == 3


def test_prior_preservation_and_masks(checkpoint, tmp_path):
    data = shop.write_images(tmp_path / "data")
    regular = shop.write_images(tmp_path / "class", count=3)
    masks = tmp_path / "masks"
    masks.mkdir()
    for index in range(6):
        width, height = Image.open(data / f"{index:02d}.png").size
        mask = Image.new("L", (width, height), 0)
        mask.paste(255, (0, 0, width // 2, height))
        mask.save(masks / f"{index:02d}.png")
    plain = train(shop.make_config(data, checkpoint, tmp_path / "plain", epochs=1))
    both = train(
        shop.make_config(
            data,
            checkpoint,
            tmp_path / "both",
            epochs=1,
            reg_data_dir=str(regular),
            prior_loss_weight=0.5,
            masked_loss="files",
            mask_dir=str(masks),
        )
    )
    prior = train(shop.make_config(data, checkpoint, tmp_path / "prior", epochs=1, reg_data_dir=str(regular)))
    # As many steps; each has as many regularisation images as well, whose loss is added.
    assert both.steps == prior.steps == plain.steps
    assert prior.loss > 1.5 * plain.loss
    assert both.loss < 0.7 * prior.loss


def command(config: Path, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), "--config", str(config), *options]


def write_yaml(path: Path, values: dict) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_at_any_time_and_resumed_ends_byte_identical(data, checkpoint, tmp_path):
    values = {"epochs": 8, "save_steps": 4, "save_precision": "fp32", "lora_dropout": 0.1, "shuffle_caption": True}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "killed", **values))
    log = tmp_path / "killed" / "events.jsonl"
    for kill_after in (6, 15):
        process = subprocess.Popen(
            command(config, "--resume-if-possible"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.read_text(encoding="utf-8").count('"event": "step"') >= kill_after:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        assert not (tmp_path / "killed" / "killed.safetensors").exists()
    last = subprocess.run(command(config, "--resume-if-possible"), capture_output=True, text=True, check=True)
    output = json.loads(last.stdout.splitlines()[-1])
    assert output["steps"] == uninterrupted.steps
    assert same_tensors(Path(output["lora"]), uninterrupted.lora)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_while_a_file_is_written_and_resumed_ends_byte_identical(data, checkpoint, tmp_path):
    """Caches, a checkpoint, its state, the finished file: killed at each in turn, and resumed each time."""
    values = {"epochs": 4, "save_steps": 4, "save_precision": "fp32", "lora_dropout": 0.1, "shuffle_caption": True}
    uninterrupted = train(shop.make_config(data, checkpoint, tmp_path / "whole", **values))
    out = tmp_path / "killed"
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, out, **values))
    for when, pattern in (
        ("after", "latents/*.safetensors"),
        ("before", "latents/*.safetensors"),
        ("after", "text/*.safetensors"),
        ("before", "killed/killed-step00000004.safetensors"),
        ("before", "state/step-00000004"),
        ("after", "state/step-00000004"),
        ("after", "killed/killed-step00000008.safetensors"),
        ("before", "killed/killed.safetensors"),
        ("before", "killed/killed.json"),
    ):
        run_dying = [sys.executable, "-m", "tests.dying", when, pattern, *command(config, "--resume-if-possible")[2:]]
        died = subprocess.run(run_dying, capture_output=True, text=True, cwd=ROOT)
        assert died.returncode == -signal.SIGKILL, f"{when} {pattern}: {died.stderr}"
        for path in complete_files(out):
            load_file(path)
    resumed = train(shop.make_config(data, checkpoint, out, **values), resume=True)
    assert resumed.steps == uninterrupted.steps
    assert same_tensors(resumed.lora, uninterrupted.lora)
    assert not [path for path in out.rglob(".*") if "cache" not in path.parts], "half-written files are left"


def complete_files(folder: Path) -> list[Path]:
    """The tensor files below a folder, but for the hidden ones: those are still being written."""
    return [path for path in folder.rglob("*.safetensors") if "/." not in path.as_posix()]


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_sigint_saves_and_exits_130(data, checkpoint, tmp_path):
    values = {"epochs": 40, "save_precision": "fp32"}
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "out", **values))
    process = subprocess.Popen(command(config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out" / "events.jsonl"
    while process.poll() is None and not (log.exists() and '"event": "step"' in log.read_text(encoding="utf-8")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err
    output = json.loads(out.splitlines()[-1])
    assert Path(output["lora"]).exists()
    assert len(list((tmp_path / "out" / "state").glob("step-*"))) == 1


def test_two_processes_equal_one_with_the_same_effective_batch(data, checkpoint, tmp_path):
    values = {"epochs": 2, "save_precision": "fp32", **STEADY}
    one = train(shop.make_config(data, checkpoint, tmp_path / "one", batch_size=2, **values))
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "two", batch_size=1, **values))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*start, *command(config)[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout.splitlines()[-1])
    assert output["steps"] == one.steps
    assert_close(one.lora, Path(output["lora"]))


def test_the_command_prints_json_and_reports_a_mistake_in_a_sentence(data, checkpoint, tmp_path):
    config = write_yaml(tmp_path / "c.yaml", shop.settings(data, checkpoint, tmp_path / "out", epochs=1))
    done = subprocess.run(command(config), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout.splitlines()[-1])
    assert output.keys() == {
        "lora", "steps", "seconds", "loss", "checkpoints", "skipped", "held_out", "suggested", "warnings",
    }  # fmt: skip
    # Six images are too few to hold some out.
    assert (output["held_out"], output["suggested"], output["warnings"]) == ([], None, [])
    assert "step 3/3" in done.stderr
    with safe_open(output["lora"], "pt") as file:
        assert file.metadata()["ss_output_name"] == "out"
    wrong = subprocess.run(command(config, "--set", "lora_rnk=4"), capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == f"error: {config}: unknown key lora_rnk; did you mean lora_rank?"
