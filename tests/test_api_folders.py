"""Looking for a folder of images on the server: only where it may be read, and nothing hidden."""

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from lora_scripts_ext.api.folders import beginnings, listed
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.errors import Refused
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database

from . import api


@pytest.fixture
def shared(tmp_path):
    """A folder that may be read, with what a shop has in it, beside one that may not."""
    for name in ("shared/Shoe 10", "shared/shoe 2", "shared/.hidden", "secret/plans"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("shoe 2/1.jpg", "shoe 2/2.PNG", "shoe 2/2.txt", "shoe 2/.3.jpg", "cover.webp"):
        (tmp_path / "shared" / name).touch()
    return tmp_path / "shared"


@pytest.fixture
def environment(tmp_path, shared):
    (tmp_path / "data").mkdir()
    return Standalone(tmp_path / "data", bounds=Bounds((shared,)))


@pytest.fixture
def client(environment):
    with api.serving(Service(Database(environment.data_dir), environment)) as client:
        yield client


def paths(answer):
    return [Path(one["path"]) for one in answer["folders"]]


def test_one_begins_at_the_roots(client, tmp_path, shared):
    answer = client.get("folders").json
    assert paths(answer) == [tmp_path / "data", shared]
    assert (answer["path"], answer["parent"]) == ("", None)
    assert answer["folders"][1] == {"path": str(shared), "name": "shared", "images": 1}


def test_folders_come_in_the_order_people_expect_with_their_images(client, shared):
    answer = client.get(f"folders?path={quote(str(shared))}").json
    assert [(one["name"], one["images"]) for one in answer["folders"]] == [("shoe 2", 2), ("Shoe 10", 0)]
    assert (answer["name"], answer["images"], answer["parent"], answer["more"]) == ("shared", 1, None, False)
    inner = client.get(f"folders?path={quote(str(shared / 'shoe 2'))}").json
    assert (inner["parent"], inner["folders"], inner["images"]) == (str(shared), [], 2)


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_links_that_lead_elsewhere_are_not_shown_and_not_followed(client, tmp_path, shared):
    (shared / "out").symlink_to(tmp_path / "secret")
    (shared / "round").symlink_to(shared / "round")
    (shared / "again").symlink_to(shared / "shoe 2")
    shown = client.get(f"folders?path={quote(str(shared))}").json
    assert [one["name"] for one in shown["folders"]] == ["again", "shoe 2", "Shoe 10"]
    for path in (shared / "out", shared / "out" / "plans", shared / ".." / "secret", tmp_path, shared / "round"):
        answer = client.get(f"folders?path={quote(str(path))}")
        assert (answer.status, answer.json["code"], answer.json["field"]) == (403, "forbidden", "path")
        assert "plans" not in answer.json["detail"].replace(str(path), "")


@pytest.mark.parametrize(
    ("path", "status"), [("{}/none", 404), ("{}/cover.webp", 404), ("//server/share", 403), ("\0", 403)]
)
def test_what_is_no_folder_is_a_sentence(client, shared, path, status):
    answer = client.get(f"folders?path={quote(path.format(shared))}")
    assert (answer.status, answer.json["field"]) == (status, "path")
    assert answer.json["detail"].startswith("path: ") and answer.json["remedy"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs rights that can be taken away")
def test_a_folder_that_cannot_be_read_is_a_sentence(client, shared):
    (shared / "shoe 2").chmod(0)
    answer = client.get(f"folders?path={quote(str(shared / 'shoe 2'))}")
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "Permission denied" in answer.json["detail"]
    assert [one["images"] for one in client.get(f"folders?path={quote(str(shared))}").json["folders"]] == [None, 0]


def test_at_most_five_hundred_are_listed_and_a_thousand_files_counted(environment, shared):
    for number in range(501):
        (shared / f"set {number}").mkdir()
    for number in range(1001):
        (shared / "set 0" / f"{number}.png").touch()
    answer = listed(environment, str(shared))
    assert len(answer["folders"]) == 500 and answer["more"]
    assert [one["name"] for one in answer["folders"]][:2] == ["set 0", "set 1"]
    assert answer["folders"][0]["images"] == 1000
    assert listed(environment, str(shared / "set 0"))["images"] == 1001


def test_without_bounds_one_begins_at_home_and_can_go_up(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    environment = Standalone(tmp_path / "data")
    assert tmp_path in paths(beginnings(environment))
    answer = listed(environment, str(tmp_path))
    assert answer["parent"] == str(tmp_path.parent)
    assert listed(environment, tmp_path.anchor)["parent"] is None
    with pytest.raises(Refused, match="network share"):
        listed(environment, r"\\server\share")
