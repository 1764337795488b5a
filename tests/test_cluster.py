"""What goes between a worker and the nodes of a cluster: files there and back, room for jobs, the node's word."""

import dataclasses
import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from lora_scripts_ext.cluster import blobs, node, parcels
from lora_scripts_ext.cluster.blobs import Blobs, sha256
from lora_scripts_ext.cluster.connection import Share
from lora_scripts_ext.cluster.launcher import may_start
from lora_scripts_ext.cluster.outbox import Outbox
from lora_scripts_ext.cluster.parcels import Digests
from lora_scripts_ext.cluster.roots import of_job, replaced
from lora_scripts_ext.commands import worker
from lora_scripts_ext.config import Config
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs.kinds import registry
from lora_scripts_ext.jobs.kinds.caption import CaptionOptions
from lora_scripts_ext.jobs.kinds.check import CheckOptions
from lora_scripts_ext.jobs.kinds.generate import GenerateOptions
from lora_scripts_ext.jobs.kinds.prepare import PrepareOptions
from lora_scripts_ext.jobs.kinds.review import ReviewOptions
from lora_scripts_ext.library.queue import LeaseLost

from .place import Place

OPTIONS = {
    kind: {field.name for field in dataclasses.fields(options)}
    for kind, options in {
        "train": Config, "caption": CaptionOptions, "check": CheckOptions, "generate": GenerateOptions,
        "prepare": PrepareOptions, "review": ReviewOptions,
    }.items()
}  # fmt: skip


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def job(tmp_path):
    """A training that reads and writes in many places, some inside of others."""
    images, out = tmp_path / "here" / "10_cups", tmp_path / "here" / "10_cups" / "out"
    for name in ("a.png", "metadata.csv", "sub/b.png", ".hidden/c.png", ".lora_trainer/left_out.json"):
        write(images / name)
    names = ("cups-000001.safetensors", "state/step-00000004/state.json", "state/step-00000004/tensors.safetensors")
    for name in (*names, "events.jsonl", "previous/1/x.png", "cache/latents/1.safetensors", "run.lock"):
        write(out / name)
    model = write(tmp_path / "here" / "models" / "v1.5.safetensors")
    settings = {"model": {"params": {"cond_stage_config": {"params": {"version": "words"}}}}}
    write(model.with_suffix(".yaml"), json.dumps(settings))
    write(model.with_name("words") / "config.json")
    write(model.with_name("words") / "vocab.json")
    write(model.with_name("other.safetensors"))
    config = {
        "train_data_dir": str(images), "metadata_path": str(images / "metadata.csv"), "output_dir": str(out),
        "base_model": str(model), "init_lora": str(out / "cups-000001.safetensors"), "output_name": "cups",
    }  # fmt: skip
    return Place(tmp_path / "library").add(config)


def test_every_file_of_a_job_has_one_place_on_a_node(job, tmp_path):
    roots, places = of_job(job, registry.by_name("train"), tmp_path / "library" / "jobs" / job.id)
    sent = {f"{root.place}/{name}" for root in roots for name in root.listed()}
    assert sent == {
        "files/1/10_cups/a.png", "files/1/10_cups/metadata.csv", "files/1/10_cups/sub/b.png",
        "files/1/10_cups/.lora_trainer/left_out.json", "files/3/v1.5.safetensors", "files/3/v1.5.yaml",
        "files/3/words/config.json", "files/3/words/vocab.json",
        "files/2/out/cups-000001.safetensors", "files/2/out/events.jsonl",
        "files/2/out/state/step-00000004/state.json", "files/2/out/state/step-00000004/tensors.safetensors",
    }  # fmt: skip
    here = {key: places[job.config[key]] for key in ("metadata_path", "init_lora", "output_dir", "base_model")}
    assert here == {
        "metadata_path": "files/1/10_cups/metadata.csv", "init_lora": "files/2/out/cups-000001.safetensors",
        "output_dir": "files/2/out", "base_model": "files/3/v1.5.safetensors",
    }  # fmt: skip
    assert [root.written for root in roots] == [True, False, True, False]


def test_a_job_that_works_on_the_library_waits_for_a_worker_beside_it(job, tmp_path):
    update = dataclasses.replace(job, kind="update")
    assert "without --ray" in may_start(update) and may_start(job) == ""
    with pytest.raises(UserError, match="without --ray"):
        of_job(update, registry.by_name("update"), tmp_path)


def test_every_kind_names_keys_that_it_has(job):
    for kind in registry.KINDS.values():
        words = {*(kind.reads or ()), *kind.writes, *filter(None, [kind.caches])}
        assert kind.reads is None or words <= OPTIONS[kind.name], kind.name


class Trip:
    """The files of a job on a node, and their way back."""

    def __init__(self, job, tmp_path):
        self.roots, places = of_job(job, registry.by_name("train"), tmp_path / "library" / "jobs" / job.id)
        self.work = tmp_path / "node" / "work"
        store = Blobs(tmp_path / "node" / "blobs")
        inputs, paths = parcels.inputs(self.roots, Digests())
        for batch in parcels.parts({digest: paths[digest] for digest in store.missing(paths)}):
            for part in batch:
                store.store(*part)
        assert store.missing(paths) == []
        for root, rows in zip(self.roots, inputs, strict=True):
            for name, digest, modified in rows:
                store.place(digest, root.on_node(self.work) / name, modified, own=root.written)
        self.out = self.work / places[job.output_dir]
        self.outbox = Outbox(self.roots, self.work)

    def deliver(self):
        """Bring back the next delivery; returns it."""
        delivery = self.outbox.first()
        plain = delivery.to_dict()
        parcels.unpack(plain, self.roots, lambda *arguments: self.outbox.read(delivery.number, *arguments))
        self.outbox.fetched(delivery.number)
        return plain


def test_what_a_job_changes_comes_back_as_it_was_at_that_moment(job, tmp_path, monkeypatch):
    monkeypatch.setattr(parcels, "PART_BYTES", 3)
    trip, here = Trip(job, tmp_path), tmp_path / "here" / "10_cups" / "out"
    write(trip.out / "state" / "step-00000008" / "tensors.safetensors", "weights")
    write(trip.out / "state" / "step-00000008" / "state.json", "facts")
    write(trip.out / "empty.txt", "")
    (trip.out / "previous" / "2").mkdir(parents=True)
    (trip.out / "cups-000001.safetensors").rename(trip.out / "previous" / "2" / "cups-000001.safetensors")
    with (trip.out / "events.jsonl").open("a") as log:
        log.write(" first")
        log.flush()
        trip.outbox.add()
        log.write(" second")
    (trip.out / "state" / "step-00000004" / "state.json").unlink()
    (trip.out / "state" / "step-00000004" / "tensors.safetensors").unlink()
    trip.outbox.add()
    first = trip.deliver()
    assert first["moved"] == [[2, "previous/2/cups-000001.safetensors", 2, "cups-000001.safetensors"]]
    assert (here / "events.jsonl").read_text() == "x first"
    assert (here / "state" / "step-00000008" / "tensors.safetensors").read_text() == "weights"
    assert (here / "previous" / "2" / "cups-000001.safetensors").read_text() == "x"
    assert (here / "state" / "step-00000004").is_dir() and not (here / "cups-000001.safetensors").exists()
    trip.deliver()
    assert (here / "events.jsonl").read_text() == "x first second"
    assert not (here / "state" / "step-00000004").exists()
    assert (here / "previous" / "1" / "x.png").is_file() and (here / "empty.txt").read_text() == ""
    assert trip.outbox.first() is None and not list((trip.work / "outbox").iterdir())


def test_what_is_not_being_fetched_yet_gives_way_to_what_is_newer(job, tmp_path):
    trip = Trip(job, tmp_path)
    numbers = []
    for text in "abc":
        write(trip.out / "new.txt", text)
        numbers.append(trip.outbox.add())
    assert trip.deliver()["number"] == numbers[0]
    assert trip.deliver()["number"] == numbers[2]
    assert (tmp_path / "here" / "10_cups" / "out" / "new.txt").read_text() == "c"
    assert trip.outbox.first() is None


def test_a_delivery_cannot_leave_the_folders_of_its_job(job, tmp_path):
    trip = Trip(job, tmp_path)
    for name in ("../../evil.txt", "/tmp/evil.txt"):
        delivery = {"moved": [], "changed": [[2, name, 1]], "removed": []}
        with pytest.raises(ValueError, match="outside"):
            parcels.unpack(delivery, trip.roots, lambda *_: b"x")


def test_a_job_cannot_change_what_the_node_keeps(job, tmp_path):
    trip = Trip(job, tmp_path)
    with (trip.out / "events.jsonl").open("a") as log:
        log.write("more")
    kept = [path for path in (tmp_path / "node" / "blobs").iterdir() if path.is_file()]
    assert kept and all(sha256(path) == path.name for path in kept)


def test_a_file_that_changes_while_it_is_sent_is_not_kept(tmp_path):
    store, path = Blobs(tmp_path / "blobs"), write(tmp_path / "file", "before")
    digest = sha256(path)
    write(path, "behind")
    for batch in parcels.parts({digest: path}):
        for part in batch:
            store.store(*part)
    assert store.missing([digest]) == [digest]


def test_a_node_keeps_what_was_used_last_within_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "_YOUNG_SECONDS", 100.0)
    store, caches = Blobs(tmp_path / "blobs"), tmp_path / "caches"
    contents = {str(number): str(number) * 1000 for number in range(4)}
    digests = {name: sha256(write(tmp_path / "sources" / name, text)) for name, text in contents.items()}
    for name, digest in digests.items():
        store.store(digest, 0, 1000, contents[name].encode())
    write(caches / "old" / "latents" / "1.safetensors", "y" * 1000)
    now = time.time()
    for age, entry in ((500, digests["0"]), (400, digests["1"]), (300, digests["2"])):
        path = tmp_path / "blobs" / entry
        monkeypatch.setattr(time, "time", lambda age=age: now - age)
        blobs.touch(path)
    monkeypatch.setattr(time, "time", lambda: now - 450)
    blobs.touch(caches / "old")
    monkeypatch.undo()
    monkeypatch.setattr(blobs, "_YOUNG_SECONDS", 100.0)
    blobs.tidy([tmp_path / "blobs", caches], 2500)
    assert store.missing(digests.values()) == [digests["0"], digests["1"]] and not (caches / "old").exists()
    blobs.tidy([tmp_path / "blobs", caches], 0)
    assert store.missing(digests.values()) == [digests["0"], digests["1"]], "what may be about to be used stays"


def test_paths_in_what_a_job_says_become_those_of_its_user():
    said = {"path": "/node/out/a.png", "text": "in /node/out/b", "list": [("/node/out", 1)], "step": 3}
    assert replaced(said, [("/node/out", "/here")]) == {
        "path": "/here/a.png", "text": "in /here/b", "list": [["/here", 1]], "step": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("share", "nodes", "jobs"),
    [
        (Share(1, 1), [{"GPU": 4, "CPU": 16}, {"CPU": 8}], 4),
        (Share(0.5, 1), [{"GPU": 1, "CPU": 16}, {"GPU": 1, "CPU": 1}], 3),
        (Share(0.1, 0), [{"GPU": 1}], 10),
        (Share(0, 4), [{"CPU": 8}, {"CPU": 6}], 3),
        (Share(1, 1), [], 0),
    ],
)
def test_room_for_jobs(share, nodes, jobs):
    assert share.room(nodes) == jobs


def test_a_job_on_the_cpu_takes_no_gpu(job):
    assert Share(1, 2).of(dataclasses.replace(job, config={"device": "cpu"}), True) == Share(0, 2)
    assert Share(1, 2).of(job, True) == Share(1, 2)
    assert Share(1, 2).of(job, False) == Share(0, 0)


def test_a_node_asks_the_worker_before_it_publishes_and_gives_up_where_none_answers(monkeypatch):
    records = node._Records()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(records.holds(None)))
    thread.start()
    until = time.monotonic() + 10
    while thread.is_alive() and time.monotonic() < until:
        records.hear("", False)
        time.sleep(0.01)
    assert answers == [False]
    monkeypatch.setattr(node, "_SILENT_SECONDS", 0.01)
    records.hear("stop", True)
    assert records.holds(None) is False
    claim = type("Claim", (), {"fence": 1, "job": type("Job", (), {"id": "a"})})
    time.sleep(0.02)
    with pytest.raises(LeaseLost, match="not heard"):
        records.beat(claim, {}, 0)


def test_without_ray_the_worker_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert worker.main(["--ray", "auto", "--data-dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "[ray]" in message and message.count("\n") == 1


def test_the_page_has_whole_manifests_and_every_option():
    page = (Path(__file__).parents[1] / "docs" / "ray.md").read_text(encoding="utf-8")
    manifests = list(yaml.safe_load_all(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]))
    kinds = ["RayCluster", "PersistentVolumeClaim", "Deployment", "NetworkPolicy"]
    assert [one["kind"] for one in manifests] == kinds
    policy = manifests[3]["spec"]["podSelector"]["matchLabels"]
    cluster, deployment = manifests[0]["spec"], manifests[2]["spec"]["template"]
    for template in (cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"], deployment):
        assert policy.items() <= template["metadata"]["labels"].items()
    options = {option for action in worker.parser()._actions for option in action.option_strings if "--" in option}
    assert options - {"--help"} == set(re.findall(r"`(--[a-z-]+)", page.partition("## On one LAN")[0]))
