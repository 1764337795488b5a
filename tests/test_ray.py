"""A Ray cluster of two nodes on this machine: jobs are placed, followed, stopped, and continue when a node is gone."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lora_scripts_ext.commands import worker as worker_command
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.jobs import event_log
from lora_scripts_ext.jobs.worker import Worker
from lora_scripts_ext.training import run

from . import shop
from .place import Place

# Loopback only; nothing is sent to anyone; a node that is gone is noticed within two seconds.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_local_fs_capacity_threshold": "1",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}
if not os.environ.get("RAY_TESTS"):
    pytest.skip("RAY_TESTS=1 runs them: they start Ray's own processes and take minutes", allow_module_level=True)
ray = pytest.importorskip("ray", reason="Ray is not installed (pip install '.[ray]')")
from ray.cluster_utils import Cluster  # noqa: E402

from lora_scripts_ext.cluster import connection  # noqa: E402
from lora_scripts_ext.cluster.blobs import sha256  # noqa: E402
from lora_scripts_ext.cluster.launcher import RayLauncher  # noqa: E402

STORE_BYTES = 80 * 2**20
SECONDS = 600


class Nodes:
    """A cluster of a head without room for jobs, and two nodes for one job each."""

    def __init__(self, folder):
        self._folder = folder
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES},
        )
        self._nodes = [self.add(), self.add()]
        self.connection = connection.connect(self._cluster.address)

    def add(self):
        number = len(list(self._folder.iterdir()))
        own = self._folder / f"node-{number}"
        own.mkdir()
        return self._cluster.add_node(
            num_cpus=1, object_store_memory=STORE_BYTES, env_vars={"LORA_TRAINER_NODE_DIR": str(own)}
        )

    def kill(self, node_id):
        """Kill a node as a power failure does, with all its processes; another takes its place."""
        node = next(one for one in self._nodes if one.node_id == node_id)
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self.add())

    def folders(self):
        """What the nodes keep between jobs, of those that had one."""
        return [folder for folder in sorted(self._folder.iterdir()) if (folder / "blobs").is_dir()]

    def close(self):
        self.connection.close()
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    nodes = Nodes(tmp_path_factory.mktemp("nodes"))
    yield nodes
    nodes.close()


class Cloud:
    """A library whose jobs run on the cluster while the test looks on."""

    def __init__(self, place, nodes):
        self.place = place
        self.queue = place.queue
        self._nodes = nodes

    def start(self, files, **options):
        """Run jobs in a thread of its own; returns the worker and the thread."""
        share = self._nodes.connection.share(None, None)
        launcher = RayLauncher(self.queue, self.place.folder, self._nodes.connection, share, files=files)

        def tick():
            worker.use(connection.lane_names(share.room(self._nodes.connection.nodes())))

        worker = Worker(self.queue, launcher, [], runner="worker", on_tick=tick)
        thread = threading.Thread(target=worker.run, kwargs=options, daemon=True)
        thread.start()
        return worker, thread

    def add(self, config, kind="train"):
        return self.place.add(config, kind).id

    def events(self, job, kind=""):
        path = event_log.folder(self.place.folder, job) / event_log.NAME
        return [line.event for line in event_log.read(path) if kind in ("", line.event["event"])]

    def wait(self, condition):
        until = time.monotonic() + SECONDS
        while not (found := condition()):
            assert time.monotonic() < until, [(job.state, job.reason) for job in self.queue.page().jobs]
            time.sleep(0.05)
        return found

    def wait_for_state(self, job, attempt):
        """Until a state of this attempt has come back from its node."""
        self.wait(lambda: [one for one in self.events(job, "state") if one["attempt"] == attempt])


@pytest.fixture
def cloud(nodes, tmp_path):
    return Cloud(Place(tmp_path / "library"), nodes)


@pytest.fixture
def train_here(data, checkpoint, tmp_path):
    """The weights of a training in this process."""

    def train(name, **changes):
        config = shop.make_config(data, checkpoint, tmp_path / "here" / name, output_name=name, **changes)
        return load_file(run.train(config, StandaloneHost()).lora)

    return train


def same(lora, expected):
    found = load_file(lora)
    return found.keys() == expected.keys() and all(found[key].equal(expected[key]) for key in expected)


def test_jobs_of_a_node_that_is_killed_continue_on_another_and_none_runs_twice(
    nodes, cloud, train_here, data, checkpoint, tmp_path
):
    changes = {"max_steps": 24, "epochs": 8, "save_steps": 6, "preview_epochs": 8, "preview_steps": 1}
    settings = [shop.settings(data, checkpoint, tmp_path / f"brand{seed}", seed=seed, **changes) for seed in range(3)]
    jobs = [cloud.add(one) for one in settings]
    _, thread = cloud.start("copied", until_empty=True)
    cloud.wait_for_state(jobs[0], 1)
    nodes.kill(cloud.events(jobs[0], "placed")[0]["node_id"])
    thread.join(SECONDS)
    assert not thread.is_alive()

    outcomes = [[attempt.outcome for attempt in cloud.queue.attempts(job)] for job in jobs]
    assert outcomes == [["requeued", "done"], ["done"], ["done"]]
    first, second = cloud.events(jobs[0], "start")
    assert first["step"] == 0 and second["step"] >= 1
    for seed, job in enumerate(jobs):
        done, events = cloud.queue.get(job), cloud.events(job)
        assert done.result["lora"] == str(tmp_path / f"brand{seed}" / f"brand{seed}.safetensors")
        assert same(done.result["lora"], train_here(f"brand{seed}", seed=seed, **changes))
        assert [change.state for change in cloud.queue.changes(job)].count("done") == 1
        assert [event["event"] for event in events].count("end") == 1
        assert [event["attempt"] for event in events] == sorted(event["attempt"] for event in events)
        report = cloud.place.report(done)
        assert [step for step, _ in report["curve"]] == list(range(1, 25))
        assert [Path(one["path"]).is_file() for one in (*report["checkpoints"], *report["previews"])] == [True] * 7
        assert not list((tmp_path / f"brand{seed}").rglob(".lora-trainer-*"))


def test_a_node_is_sent_a_file_once_and_keeps_nothing_of_a_job(nodes, checkpoint):
    """After the test above: the base model lies once on each node, jobs' folders are gone but a killed one's."""
    digest = sha256(checkpoint)
    folders = nodes.folders()
    assert [(folder / "blobs" / digest).is_file() for folder in folders] == [True] * len(folders)
    assert sum(len(list((folder / "work").iterdir())) for folder in folders) <= 1


def test_a_job_is_stopped_and_continued_where_nodes_share_the_folders(cloud, train_here, data, checkpoint, tmp_path):
    """Also: an attempt that another one has replaced brings nothing back."""
    changes = {"max_steps": 60, "epochs": 20, "save_steps": 5}
    job = cloud.add(shop.settings(data, checkpoint, tmp_path / "brand", **changes))
    worker, thread = cloud.start("copied")
    cloud.wait_for_state(job, 1)
    cloud.queue.recover(lambda attempt: True)
    cloud.wait_for_state(job, 2)
    assert {event["attempt"] for event in cloud.events(job, "step")} == {1, 2}
    cloud.queue.stop(job)
    stopped = cloud.wait(lambda: (found := cloud.queue.get(job)).ended and found)
    worker.stop()
    thread.join()
    assert (stopped.state, stopped.fence) == ("stopped", 2) and "retry" in stopped.reason
    step = stopped.result["steps"]
    assert 5 <= step < 60 and (tmp_path / "brand" / "state" / f"step-{step:08d}" / "state.json").is_file()

    cloud.queue.retry(job)
    photos = shop.write_images(tmp_path / "photos", side=96)
    (photos / "metadata.csv").unlink()
    (photos / "00.png").rename(photos / "red_cup.png")
    captions = cloud.add({"train_data_dir": str(photos), "captioner": "names", "trigger_word": "brnd"}, "caption")
    _, thread = cloud.start("auto", until_empty=True)
    thread.join(SECONDS)
    done = cloud.queue.get(job)
    assert (done.state, done.fence, cloud.events(job, "start")[-1]["step"]) == ("done", 3, step)
    assert same(done.result["lora"], train_here("brand", **changes))
    assert (tmp_path / "brand" / "cache").is_dir()
    assert cloud.queue.get(captions).state == "done"
    assert "brnd" in (photos / "metadata.csv").read_text(encoding="utf-8")


def test_without_a_cluster_the_worker_says_what_to_do(tmp_path, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    assert worker_command.main(["--ray", address, "--data-dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert address in message and "ray start --head" in message and message.count("\n") == 1
