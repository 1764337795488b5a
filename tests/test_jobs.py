"""A run in the background: its report while it goes on and after it ended."""

import json
import time

import pytest
from safetensors.torch import load_file

from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.jobs.job import Job
from lora_scripts_ext.training import run

from . import models, shop


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    return shop.write_images(folder / "data"), models.write_checkpoint(folder / "tiny.safetensors", "sd1")


def finished(job: Job) -> dict:
    job.start()
    job.join(120)
    assert not job.alive
    return json.loads(json.dumps(job.report()))


def test_a_job_ends_with_the_lora_and_its_curve(paths, tmp_path):
    config = shop.make_config(*paths, tmp_path / "out", save_epochs=1, preview_epochs=2, preview_steps=2)
    report = finished(Job(config, StandaloneHost()))
    assert report["status"] == "done"
    assert (report["step"], report["steps"], report["epochs"]) == (6, 6, 2)
    assert load_file(report["lora"])
    assert [step for step, _ in report["curve"]] == [1, 2, 3, 4, 5, 6]
    assert [preview["epoch"] for preview in report["previews"]] == [0, 0, 2, 2]
    assert len(report["checkpoints"]) == 1
    assert report["eta"] is None


def test_a_stopped_job_is_saved_and_resumed(paths, tmp_path):
    config = shop.make_config(*paths, tmp_path / "out", epochs=200)
    job = Job(config, StandaloneHost())
    job.start()
    deadline = time.monotonic() + 60
    while job.report().get("step", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    job.stop()
    assert job.report()["stopping"]
    job.join(60)
    report = job.report()
    assert report["status"] == "stopped"
    assert 2 <= report["step"] < report["steps"]
    again = Job(config, StandaloneHost(), resume=True)
    again.start()
    while again.report()["status"] != "training":
        time.sleep(0.01)
    assert again.report()["step"] >= report["step"]
    again.stop()
    again.join(60)


def test_a_mistake_is_one_sentence(paths, tmp_path):
    report = finished(Job(shop.make_config(paths[0], tmp_path / "no.safetensors", tmp_path / "out"), StandaloneHost()))
    assert report["status"] == "failed"
    assert "no.safetensors" in report["error"]
    assert "\n" not in report["error"]


def test_a_crash_is_a_sentence_too_and_leaves_its_details(paths, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run, "Run", fail)
    report = finished(Job(shop.make_config(*paths, tmp_path / "out"), StandaloneHost()))
    assert report["status"] == "failed"
    assert report["error"].startswith("out of memory; set gradient_checkpointing: true")
    assert "Tried to allocate" in (tmp_path / "out" / "crash.log").read_text(encoding="utf-8")


def test_the_curve_stays_short(paths, tmp_path):
    job = Job(shop.make_config(*paths, tmp_path / "out"), StandaloneHost())
    for step in range(1, 1002):
        job._on_event({"event": "step", "step": step, "loss": float(step)})
    curve = job.report()["curve"]
    assert len(curve) <= 400
    assert curve[0] == (3, 2.0)
    assert curve[-1][0] == 1001


def test_the_report_of_a_diverged_run_is_valid_json(paths, tmp_path):
    job = Job(shop.make_config(*paths, tmp_path / "out"), StandaloneHost())
    for step, loss in enumerate((0.5, float("nan"), float("inf"), None), 1):
        job._on_event({"event": "step", "step": step, "loss": loss, "rate": -float("inf")})
    job._on_event({"event": "preview", "path": "a.png", "distances": (float("nan"), 1.0)})
    report = json.loads(json.dumps(job.report(), allow_nan=False))
    assert (report["step"], report["loss"], report["rate"]) == (4, None, None)
    assert report["curve"] == [[1, 0.5]]
    assert report["previews"][0]["distances"] == [None, 1.0]
