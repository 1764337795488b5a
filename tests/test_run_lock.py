"""Runs that meet: one at a time writes into a folder, and partial files of the living stay."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lora_scripts_ext import files
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.owner import Owner, tag_is_alive
from lora_scripts_ext.training import lock

from . import shop
from .test_run import ROOT, command, train, write_yaml


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
    monkeypatch.setattr(lock.file_lock, "take", lambda handle: None)
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
        assert json.loads((tmp_path / lock.NAME).read_text(encoding="utf-8"))["pid"] == os.getpid()


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
