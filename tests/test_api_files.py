"""A job's files: what belongs to it can be fetched, nothing else."""

import os
from urllib.parse import quote

import pytest

from lora_scripts_ext.api import files
from lora_scripts_ext.jobs import event_log

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path / "data")


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


@pytest.fixture
def job(service, tmp_path):
    out = tmp_path / "out"
    (out / "previews").mkdir(parents=True)
    (out / "previews" / "a b.png").write_bytes(b"preview")
    (out / "shoes.safetensors").write_bytes(bytes(range(100)))
    (out / "cache").mkdir()
    (out / "cache" / "x.safetensors").write_bytes(b"cached")
    (out / "notes.txt").write_text("private")
    (tmp_path / "secret.png").write_bytes(b"TOP")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.png").write_bytes(b"TOP")
    return api.add_job(service, output_dir=str(out))


def test_files_are_listed_and_fetched(service, client, job):
    items = client.get(f"jobs/{job.id}/files").json["items"]
    assert [one["path"] for one in items] == ["job.json", "previews/a b.png", "shoes.safetensors"]
    preview = client.get(items[1]["address"])
    assert (preview.body, preview.headers["content-type"]) == (b"preview", "image/png")
    assert preview.headers["x-content-type-options"] == "nosniff"
    lora = client.get(items[2]["address"])
    assert lora.body == bytes(range(100)) and lora.headers["content-length"] == "100"
    assert lora.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("header", "status", "first", "last"),
    [
        ("bytes=10-19", 206, 10, 19),
        ("bytes=90-", 206, 90, 99),
        ("bytes=-5", 206, 95, 99),
        ("bytes=0-1000", 206, 0, 99),
        ("bytes=200-300", 200, 0, 99),
        ("bytes=5-2", 200, 0, 99),
        ("bytes=0-1,4-5", 200, 0, 99),
        ("lines=1-2", 200, 0, 99),
        ("bytes=-0", 200, 0, 99),
    ],
)
def test_a_range_continues_a_download(client, job, header, status, first, last):
    answer = client.get(f"jobs/{job.id}/files/shoes.safetensors", Range=header)
    assert (answer.status, answer.body) == (status, bytes(range(100))[first : last + 1])
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {first}-{last}/100"


def test_a_file_that_has_not_changed_is_not_sent_again(client, job):
    path = f"jobs/{job.id}/files/shoes.safetensors"
    tag = client.get(path).headers["etag"]
    again = client.get(path, If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    assert client.get(path, Range="bytes=0-1", If_Range='"old"').status == 200


HOSTILE = [
    "../secret.png", "previews/../../secret.png", "/etc/passwd", "previews/../../outside/x.png", "notes.txt",
    "previews", "", ".", "..", "a\0.png", "C:\\x.png", "..\\secret.png", "//server/share/x.png",
    "~/x.png", "x" * 300 + ".png", "\u202e.png", "previews/missing.png",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
def test_what_does_not_belong_to_the_job_is_not_there(client, job, path):
    for written in (quote(path, safe=""), quote(path)):
        answer = client.get(f"jobs/{job.id}/files/{written}")
        if answer.status == 200:
            assert set(answer.json) == {"items"}
        else:
            assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
        assert b"TOP" not in answer.body


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_links_out_of_the_folder_are_not_followed(client, job, tmp_path):
    (tmp_path / "out" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "out" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "out" / "inside.png").symlink_to(tmp_path / "out" / "previews" / "a b.png")
    for path in ("link.png", "folder/x.png"):
        assert client.get(f"jobs/{job.id}/files/{path}").status == 404
    assert client.get(f"jobs/{job.id}/files/inside.png").body == b"preview"
    listed = [one["path"] for one in client.get(f"jobs/{job.id}/files").json["items"]]
    assert "inside.png" in listed and "link.png" not in listed and "folder/x.png" not in listed


def test_the_end_of_a_log(service, client, job):
    assert client.get(f"jobs/{job.id}/log").body == b""
    folder = event_log.folder(service.database.folder, job.id)
    (folder / "output.log").write_bytes(b"first\nlast\n")
    answer = client.get(f"jobs/{job.id}/log?bytes=5")
    assert (answer.body, answer.headers["content-type"]) == (b"last\n", "text/plain; charset=utf-8")


def test_a_file_larger_than_a_block_comes_whole(client, job, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK", 7)
    assert client.get(f"jobs/{job.id}/files/shoes.safetensors").body == bytes(range(100))
