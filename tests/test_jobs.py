"""Jobs in this process: what they leave in the library and in their folder, and how they end."""

import errno
import json
import threading
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs import event_log, submit
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.kinds import registry
from lora_scripts_ext.jobs.launcher import ThreadLauncher
from lora_scripts_ext.jobs.report import Report
from lora_scripts_ext.jobs.view import job_view
from lora_scripts_ext.jobs.worker import Worker
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.queue import LeaseLost
from lora_scripts_ext.training import publication, run

from . import shop
from .place import LANE, Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "library")


def settings(data, checkpoint, out, **changes):
    return shop.settings(data, checkpoint, out, **changes)


def test_a_training_ends_with_the_lora_and_its_curve(place, data, checkpoint, tmp_path):
    job = place.add(settings(data, checkpoint, tmp_path / "out", save_epochs=1, preview_epochs=2, preview_steps=2))
    done = place.perform()
    report = json.loads(json.dumps(place.report(job)))
    assert (done.state, done.result["steps"]) == ("done", 6)
    assert load_file(done.result["lora"])
    assert [step for step, _ in report["curve"]] == [1, 2, 3, 4, 5, 6]
    assert [preview["epoch"] for preview in report["previews"]] == [0, 0, 2, 2]
    assert len(report["checkpoints"]) == 1
    assert [change.state for change in place.queue.changes(job.id)] == ["queued", "starting", "running", "done"]


def test_a_stopped_training_is_retried_from_its_state_to_the_bytes_of_one_that_was_never_stopped(
    place, data, checkpoint, tmp_path
):
    job = place.add(settings(data, checkpoint, tmp_path / "out", epochs=10))
    launcher = ThreadLauncher(place.queue, place.environment, lambda event: time.sleep(0.05))
    running = launcher.start(place.claim())
    deadline = time.monotonic() + 60
    while len(place.report(job)["curve"]) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    place.queue.stop(job.id)
    while running.death() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped = place.queue.get(job.id)
    assert stopped.state == "stopped" and "retry" in stopped.reason
    assert 3 <= stopped.result["steps"] < 30
    submit.retry(place.queue, place.environment, job.id)
    done = place.perform()
    assert (done.state, done.fence) == ("done", 2)
    assert [step for step, _ in place.report(job)["curve"]] == list(range(1, 31))
    whole = place.add(settings(data, checkpoint, tmp_path / "whole", output_name="out", epochs=10))
    place.perform()
    resumed, expected = (load_file(place.queue.get(one.id).result["lora"]) for one in (job, whole))
    assert all(resumed[key].equal(expected[key]) for key in expected)


def test_a_mistake_is_one_sentence(place, data, tmp_path):
    place.add(settings(data, tmp_path / "no.safetensors", tmp_path / "out"))
    failed = place.perform()
    assert failed.state == "failed" and "no.safetensors" in failed.reason and "\n" not in failed.reason


def test_a_crash_is_a_sentence_too_and_leaves_its_details(place, data, checkpoint, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run, "Run", fail)
    job = place.add(settings(data, checkpoint, tmp_path / "out"))
    failed = place.perform()
    assert failed.reason.startswith("out of memory; set gradient_checkpointing: true")
    crash = event_log.folder(place.folder, job.id) / "crash.log"
    assert "Tried to allocate" in crash.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_puts_the_job_back_into_the_queue(place, data, checkpoint, tmp_path, monkeypatch, error):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(run, "Run", fail)
    place.add(settings(data, checkpoint, tmp_path / "out"))
    waiting = place.perform()
    assert waiting.state == "queued" and "the disk is full" in waiting.reason
    assert "Is tried again in" in place.queue.waits_for(waiting)
    assert place.claim() is None


def test_the_result_of_an_attempt_that_lost_its_lease_is_not_published(place, data, checkpoint, tmp_path, monkeypatch):
    published = []
    monkeypatch.setattr(publication, "publish", lambda *arguments: published.append(arguments))
    place.add(settings(data, checkpoint, tmp_path / "out"))
    claim = place.claim()
    taken = threading.Event()

    def listen(event):
        if event["event"] == "step" and not taken.is_set():
            place.queue.recover(lambda attempt: True)
            taken.set()

    with Execution(place.queue, claim, place.folder, listen=listen) as execution, pytest.raises(LeaseLost):
        run.train(*_run_arguments(claim, place), report=execution.report, before_publishing=execution.require_lease)
    assert not published and place.queue.get(claim.job.id).state == "queued"


def _run_arguments(claim, place):
    from lora_scripts_ext import config as configs

    return configs.from_dict(claim.job.config), place.environment.host(lambda: None)


def test_a_config_is_checked_before_it_is_queued(place, data, checkpoint, tmp_path):
    for kind, config, words in (
        ("train", settings(data, checkpoint, tmp_path / "out", lora_rnk=4), "lora_rank"),
        ("train", settings(data, checkpoint, ""), "output_dir is missing"),
        ("train", {"output_name": "../up", "train_data_dir": str(data), "base_model": "x"}, "output_name"),
        ("caption", {"train_data_dir": str(data), "captioner": "nobody"}, "captioner is 'nobody'"),
        ("caption", {}, "train_data_dir is missing"),
        ("check", {"train_data_dir": str(data), "resolution": "big"}, "resolution"),
        ("prepare", {"input": str(data)}, "output_dir is missing"),
        ("dance", {}, "no kind of job"),
    ):
        with pytest.raises(UserError, match=words):
            place.add(config, kind)
    assert place.queue.page().jobs == []


def test_how_a_config_was_read_is_said_where_the_job_waits(place, data, checkpoint, tmp_path):
    config = settings(data, checkpoint, tmp_path / "out", save_every_n_epochs=1, network_module="networks.lora")
    job = place.add(config)
    assert "different from kohya" in job.reason
    assert place.queue.changes(job.id)[0].reason == job.reason
    file = tmp_path / "kohya.yaml"
    file.write_text(yaml.safe_dump(config | {"output_dir": str(tmp_path / "other")}), encoding="utf-8")
    ((job, error),) = submit.submit_files(place.queue, place.environment, [file], NewJob("train", {}))
    assert error is None and "different from kohya" in job.reason


def test_jobs_that_would_write_into_one_folder_get_names_of_their_own(place, data, checkpoint, tmp_path):
    config = settings(data, checkpoint, tmp_path / "out", output_name="brand")
    jobs = [place.add(config) for _ in range(3)]
    assert [job.name for job in jobs] == ["brand", "brand-2", "brand-3"]
    assert jobs[2].config["output_name"] == "brand-3"
    assert len({job.output_dir for job in jobs}) == 3


def test_captions_checks_and_copies_are_jobs_too(place, tmp_path):
    photos = shop.write_images(tmp_path / "photos", side=96)
    (photos / "metadata.csv").unlink()
    for path in photos.glob("*.png"):
        path.rename(path.with_name(f"red_cup_{path.name}"))
    place.add({"train_data_dir": str(photos), "captioner": "names", "trigger_word": "brnd"}, "caption")
    done = place.perform()
    assert (done.state, done.result["written"], done.result["captioner"]) == ("done", 6, "names")
    assert "brnd" in (photos / "metadata.csv").read_text(encoding="utf-8")
    place.add({"train_data_dir": str(photos), "resolution": 64}, "check")
    assert len(place.perform().result["pictures"]) == 6
    (tmp_path / "words.yaml").write_text("competitors: [cup]", encoding="utf-8")
    place.add({"train_data_dir": str(photos), "resolution": 64, "words": str(tmp_path / "words.yaml")}, "check")
    reasons = [one["reasons"] for one in place.perform().result["pictures"]]
    assert all("competitor" in {reason["code"] for reason in found} for found in reasons)
    place.add({"train_data_dir": str(photos), "logos": True, "model": str(tmp_path / "clip")}, "check")
    failed = place.perform()
    assert failed.state == "failed" and "clip" in failed.reason
    place.add({"input": str(photos), "output_dir": str(tmp_path / "ready"), "resolution": 64}, "prepare")
    assert place.perform().result["made"] == 6


def test_a_worker_runs_every_job_and_a_bad_one_does_not_stop_the_next(place, data, checkpoint, tmp_path):
    names = ["a", "b", "c"]
    for name in names:
        place.add(settings(data if name != "b" else tmp_path / "nowhere", checkpoint, tmp_path / name, max_steps=1))
    worker = Worker(place.queue, ThreadLauncher(place.queue, place.environment), [LANE], runner="worker")
    worker.run(until_empty=True)
    assert {job.name: job.state for job in place.queue.page().jobs} == {"a": "done", "b": "failed", "c": "done"}


def test_a_job_that_may_not_start_now_says_why(place, data, checkpoint, tmp_path):
    job = place.add(settings(data, checkpoint, tmp_path / "out"))
    launcher = ThreadLauncher(place.queue, place.environment)
    worker = Worker(place.queue, launcher, [LANE], runner="worker", may_start=lambda job: "Waits for tea.")
    worker.tick()
    assert place.queue.get(job.id).reason == "Waits for tea."
    assert place.queue.get(job.id).state == "queued"


def test_a_worker_does_not_wait_for_jobs_that_only_others_can_run(place, data, checkpoint, tmp_path):
    place.add(settings(data, checkpoint, tmp_path / "theirs"), runner="webui")
    place.add(settings(data, checkpoint, tmp_path / "ours", max_steps=1))
    Worker(place.queue, ThreadLauncher(place.queue, place.environment), [LANE], runner="worker").run(until_empty=True)
    assert {job.name: job.state for job in place.queue.page().jobs} == {"ours": "done", "theirs": "queued"}


def test_a_job_that_cannot_be_started_is_not_left_to_no_one(place, data, checkpoint, tmp_path):
    class Full:
        def start(self, claim):
            raise OSError(errno.ENOSPC, "No space left on device")

    job = place.add(settings(data, checkpoint, tmp_path / "out"))
    Worker(place.queue, Full(), [LANE], runner="worker").tick()
    waiting = place.queue.get(job.id)
    assert waiting.state == "queued" and "No space left" in waiting.reason and waiting.retry_at


def test_a_job_looks_the_same_to_every_program(place, data, checkpoint, tmp_path):
    place.add(settings(data, checkpoint, tmp_path / "out", max_steps=1))
    view = job_view(place.queue, place.perform(), whole=True)
    assert json.loads(json.dumps(view)) == view
    assert view["attempts"][0]["outcome"] == "done"
    assert view["changes"][-1]["state"] == "done" and view["created"].endswith("Z")


def test_the_curve_stays_short():
    report = Report()
    for step in range(1, 1002):
        report.add({"event": "step", "step": step, "loss": float(step)})
    curve = report.to_dict()["curve"]
    assert len(curve) <= 400
    assert curve[0] == (3, 2.0)
    assert curve[-1][0] == 1001


def test_the_report_of_a_diverged_run_is_valid_json():
    report = Report()
    for step, loss in enumerate((0.5, float("nan"), float("inf"), None), 1):
        report.add({"event": "step", "step": step, "loss": loss, "rate": -float("inf")})
    report.add({"event": "preview", "path": "a.png", "distances": (float("nan"), 1.0)})
    shown = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (shown["step"], shown["loss"], shown["rate"]) == (4, None, None)
    assert shown["curve"] == [[1, 0.5]]
    assert shown["previews"][0]["distances"] == [None, 1.0]


def test_a_report_says_when_previews_are_drawn():
    report = Report()
    report.add({"event": "start", "step": 0, "steps": 10, "epochs": 1})
    report.add({"event": "drawing", "done": 0, "total": 2})
    assert report.progress["prepare"] == {"done": 0, "total": 2, "what": "previews"}
    report.add({"event": "drawing", "done": 2, "total": 2})
    assert "prepare" not in report.progress


def test_a_resumed_attempt_replaces_the_steps_that_it_does_again():
    report = Report()
    for step in range(1, 9):
        report.add({"event": "step", "step": step, "loss": 1.0})
    report.add({"event": "start", "step": 5, "steps": 10, "epochs": 1})
    report.add({"event": "step", "step": 6, "loss": 2.0})
    assert report.to_dict()["curve"] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0), (6, 2.0)]


def test_half_a_line_of_a_killed_process_does_not_spoil_the_next_one(tmp_path):
    path = tmp_path / event_log.NAME
    path.write_bytes(b'{"event": "step", "step": 1, "attempt": 1}\n{"event": "st')
    writer = event_log.Writer(path, 2)
    writer.write({"event": "step", "step": 2})
    writer.close()
    lines = list(event_log.read(path))
    assert [line.event["step"] for line in lines] == [1, 2]
    assert list(event_log.read(path, lines[0].end))[-1].event["attempt"] == 2


def test_images_are_generated_with_a_lora_and_compared_on_a_sheet(place, data, checkpoint, tmp_path):
    place.add(settings(data, checkpoint, tmp_path / "out", learning_rate=0.05, save_epochs=1, target="full"))
    lora = place.perform().result["lora"]
    drawing = {"base_model": str(checkpoint), "width": 32, "height": 32, "steps": 2, "seed": 3}
    images = []
    for strength in (0.0, 0.5, 1.0):
        place.add({**drawing, "prompts": ["a cup", "a shoe"], "lora": lora, "strength": strength}, "generate")
        done = place.perform()
        assert (done.state, len(done.result["images"])) == ("done", 2)
        images.append([Image.open(path).tobytes() for path in done.result["images"]])
        assert f"out:{strength:g}>" in Image.open(done.result["images"][0]).info["parameters"]
    place.add({**drawing, "prompts": ["a cup", "a shoe"]}, "generate")
    plain = [Image.open(path).tobytes() for path in place.perform().result["images"]]
    assert images[0] == plain and images[2] != plain and images[1] not in (plain, images[2])

    job = place.add({**drawing, "prompts": ["a cup"], "loras": [str(tmp_path / "out")], "strengths": [0, 1]}, "review")
    done = place.perform()
    assert done.state == "done", done.reason
    # Two checkpoints at two strengths, and the base model alone.
    assert len(done.result["images"]) == 5
    assert Image.open(done.result["sheet"]).size[1] > 2 * 32
    assert Image.open(done.result["images"][0]).tobytes() == plain[0]
    assert Image.open(next(path for path in done.result["images"] if "out-1-" in path)).tobytes() == images[2][0]
    before = {path: path.stat().st_mtime_ns for path in map(Path, done.result["images"])}
    Path(done.result["images"][0]).unlink()
    config = {**job.config, "output_dir": str(Path(done.result["sheet"]).parent)}
    place.add(config, "review")
    again = place.perform()
    changed = [path for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert again.state == "done" and changed == [Path(done.result["images"][0])]


def test_a_server_that_others_reach_reads_writes_and_sends_only_what_its_operator_allows(tmp_path, data, checkpoint):
    outside, allowed = tmp_path / "outside", tmp_path / "allowed"
    for folder in (outside, allowed, tmp_path / "library"):
        folder.mkdir()
    (allowed / "link").symlink_to(outside)
    bounds = Bounds((allowed,), frozenset({("https://captions.example/v1", "CAPTIONS_KEY")}))
    environment = Standalone(tmp_path / "library", str(checkpoint), bounds)
    good = {"train_data_dir": str(allowed), "output_name": "brand"}
    plan = registry.by_name("train").plan(good, environment, "config")
    assert plan.config["base_model"] == str(checkpoint)
    assert plan.output_dir == str(tmp_path / "library" / "brand")
    for key in ("train_data_dir", "output_dir", "init_lora", "vae", "cache_dir", "network_weights"):
        for path in (outside, allowed / "link" / "x", allowed / ".." / "outside"):
            with pytest.raises(UserError, match="only below"):
                registry.by_name("train").plan({**good, key: str(path)}, environment, "config")
    caption = {"train_data_dir": str(allowed), "captioner": "endpoint"}
    known = {"endpoint": "https://captions.example/v1", "key_from": "CAPTIONS_KEY"}
    assert registry.by_name("caption").plan({**caption, **known}, environment, "config")
    for change in ({"key_from": "AWS_SECRET_ACCESS_KEY"}, {"endpoint": "https://elsewhere.example"}):
        with pytest.raises(UserError, match=r"service\.yaml"):
            registry.by_name("caption").plan({**caption, **known, **change}, environment, "config")


def test_a_model_trained_again_replaces_what_it_has_published(tmp_path):
    warnings = []
    for number, content in enumerate((b"first", b"second"), 1):
        run_folder = tmp_path / "runs" / str(number)
        run_folder.mkdir(parents=True)
        publication.inherit(run_folder)
        (run_folder / "brand.safetensors").write_bytes(content)
        (run_folder / "brand.json").write_text("{}")
        (tmp_path / "Lora").mkdir(exist_ok=True)
        publication.publish(run_folder / "brand.safetensors", tmp_path / "Lora", warnings.append)
    assert (tmp_path / "Lora" / "brand.safetensors").read_bytes() == b"second"
    assert warnings == [] and not list((tmp_path / "Lora").glob("*.bak"))
