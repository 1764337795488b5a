"""``serve`` and ``keys`` as a shell runs them."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lora_scripts_ext.commands import keys, serve

from . import api, models, shop

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def server(folder, *options):
    """A server in a process of its own, and a client of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lora_scripts_ext", "serve", "--port", "0", "--data-dir", str(folder), *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        url = json.loads(process.stdout.readline())["url"]
        yield process, api.Client(int(url.rpartition(":")[2]))
    finally:
        process.kill()
        process.wait()


def test_without_its_packages_it_is_a_sentence(monkeypatch, capsys):
    from lora_scripts_ext import __main__

    for name in [name for name in sys.modules if name.partition(".")[0] == "fastapi" or ".api" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "lora_scripts_ext.commands.openapi", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert __main__.main(["openapi"]) == 2
    assert "needs the package fastapi" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_a_training_is_followed_and_given_back_when_the_server_is_stopped(tmp_path):
    images = shop.write_images(tmp_path / "photos")
    checkpoint = models.write_checkpoint(tmp_path / "tiny.safetensors", "sd1")
    config = {"train_data_dir": str(images), "output_name": "shoes", "resolution": [64], "epochs": 10000}
    with server(tmp_path, "--base-model", str(checkpoint)) as (process, client):
        assert client.get("system").json["base_model"] == str(checkpoint)
        job = client.post("jobs", {"kind": "train", "config": config}).json["id"]
        with client.stream(f"jobs/{job}/events") as stream:
            kinds = (event["event"] for event in stream)
            assert next(kind for kind in kinds if kind in ("start", "step")) == "start"
            assert next(kinds) == "step"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    service = api.make_service(tmp_path)
    found = service.queue.get(job)
    assert (found.state, found.begun) == ("queued", True)
    assert found.reason == "Its worker was stopped; it continues from its last state."
    service.database.close()


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_open_streams_do_not_keep_a_server_from_ending(tmp_path):
    with server(tmp_path, "--no-worker") as (process, client), client.stream("events"):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130


def test_a_port_in_use_is_one_sentence(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.main(["--port", str(port), "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: --port: {port} is used by another program; name another one, or 0 for a free one.\n"
    )


def test_a_host_that_is_none_is_one_sentence(tmp_path, capsys):
    assert serve.main(["--host", "no host", "--data-dir", str(tmp_path)]) == 2
    assert "--host: no host is no name or address" in capsys.readouterr().err


def test_others_are_let_in_only_with_a_key(tmp_path, capsys):
    assert serve.main(["--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path)]) == 2
    assert "make one with `python -m lora_scripts_ext keys add NAME`" in capsys.readouterr().err
    assert keys.main(["add", "shop", "--data-dir", str(tmp_path)]) == 0
    secret = json.loads(capsys.readouterr().out)["key"]
    with server(tmp_path, "--host", "0.0.0.0", "--no-worker") as (_, client):
        assert client.get("queue").status == 401
        assert client.get("queue", Authorization=f"Bearer {secret}").status == 200


def test_keys_are_made_listed_and_revoked(tmp_path, capsys):
    folder = ["--data-dir", str(tmp_path)]
    assert keys.main(["add", "screen", "--read-only", *folder]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["scope"], made["revoked"]) == ("screen", "read", None)
    assert keys.main(["list", *folder]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == [{name: made[name] for name in ("id", "name", "scope", "created", "revoked")}]
    assert keys.main(["revoke", made["id"], *folder]) == 0
    assert json.loads(capsys.readouterr().out)["revoked"]
    assert keys.main(["revoke", "nobody", *folder]) == 2


def test_a_wrong_service_file_is_one_sentence(tmp_path, capsys):
    (tmp_path / "service.yaml").write_text("webhooks: {shop: {url: ftp://x, secret: s}}", encoding="utf-8")
    assert serve.main(["--port", "0", "--data-dir", str(tmp_path)]) == 2
    assert "write a whole address" in capsys.readouterr().err
