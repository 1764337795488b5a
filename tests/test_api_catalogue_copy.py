"""Catalogues over HTTP: copy for the shop, written by people or by a service."""

import json
from threading import Thread

import pytest

pytest.importorskip("fastapi")

from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database

from . import api
from .catalogues import ROWS, RULES, made, performed, said
from .test_products_copywriting import Service as FakeService


@pytest.fixture
def service(tmp_path, checkpoint):
    return Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint)))


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


@pytest.fixture
def writer():
    """A service that writes copy."""
    with FakeService() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answer(title, *points):
    return json.dumps({"title": title, "selling_points": points})


def test_copy_is_written_once_edited_and_handed_over(client, service, writer):
    path = f"catalogues/{made(client)}"
    first, second, third = (one["id"] for one in client.get(f"{path}/products").json["items"])
    own = {"title": " My own\nshoe ", "points": ["Soft", ""], "language": "zh"}
    view = client.send("PATCH", f"{path}/products/{first}", {"copy": own}).json
    assert (view["copy"], view["edited"]) == ({"title": "My own shoe", "points": ["Soft"], "language": "zh"}, ["copy"])

    assert client.post(f"{path}/copy", {}).status == 422
    writer.answer = answer("Bag", "Light", "Large")
    queued = client.post(f"{path}/copy", {"endpoint": writer.url, "products": [first, second]})
    assert (queued.status, queued.headers["location"].endswith(queued.json["id"])) == (201, True)
    job = performed(service, "here files")
    assert (job.state, job.result["written"], job.result["failed"]) == ("done", 1, 0), job.reason
    # What a person has written is not asked for.
    assert len(writer.asked) == 1 and "蓝色背包" in writer.asked[0][2]["messages"][0]["content"]
    views = {one["id"]: one for one in client.get(f"{path}/products").json["items"]}
    assert views[second]["copy"] == {"title": "Bag", "points": ["Light", "Large"], "language": "en"}
    assert (views[first]["copy"]["title"], views[third]["copy"], views[second]["edited"]) == ("My own shoe", None, [])

    client.post(f"{path}/generate", {"products": [second], "candidates": 1})
    assert performed(service).state == "done"
    client.post(f"{path}/export", {"undecided": True})
    assert performed(service, "here files").state == "done"
    (image,) = client.get(f"{path}/finished/manifest.json").json["images"]
    assert image["copy"] == views[second]["copy"] and image["alt"] == {"en": "Bag", "zh": "蓝色背包"}
    assert b"Light; Large" in client.get(f"{path}/finished/manifest.csv").body

    # Another product is not what the service has written about; what a person has written stays.
    changed = [{**ROWS[0], "color": "green"}, {**ROWS[1], "color": "绿色"}, ROWS[2]]
    client.post(f"{path}/read", {"products": changed})
    assert client.get(f"{path}/products/{first}").json["copy"]["title"] == "My own shoe"
    assert client.get(f"{path}/products/{second}").json["copy"] is None
    assert client.send("PATCH", f"{path}/products/{first}", {"copy": None}).json["copy"] is None
    for wrong, sentence in (
        ({"title": " "}, "it has no title"),
        ({"title": "a" * 301}, "at most 300 characters"),
        ({"title": "a", "points": ["b"] * 21}, "20 points"),
    ):
        said(client.send("PATCH", f"{path}/products/{first}", {"copy": wrong}), 422, sentence)


def test_copy_that_may_not_be_kept_and_a_service_that_is_gone(client, service, writer):
    words = {"forbidden": ["best"], "competitors": ["Acme"]}
    path = f"catalogues/{made(client, words=words)}"
    writer.answer = answer("The best of all")
    client.post(f"{path}/copy", {"endpoint": writer.url})
    job = performed(service, "here files")
    assert (job.state, job.result["written"], job.result["failed"]) == ("done", 0, 3)
    assert "its copy has the forbidden word 'best'" in job.result["problems"][0]
    writer.answer = answer("Like Acme", "Soft")
    client.post(f"{path}/copy", {"endpoint": writer.url})
    job = performed(service, "here files")
    assert job.result["written"] == 3 and "its copy names 'Acme'" in job.result["warnings"][0]

    path = f"catalogues/{made(client)}"
    writer.answer, writer.asked = "no JSON", []
    client.post(f"{path}/copy", {"endpoint": writer.url})
    job = performed(service, "here files")
    assert job.state == "failed" and "has no title" in job.reason and len(writer.asked) == 3


def test_texts_are_sent_only_where_the_operator_allows_it(tmp_path, writer):
    data = tmp_path / "data"
    bounds = Bounds((data,), frozenset({(writer.url, "")}))
    service = Service(Database(data), Standalone(data, "", bounds))
    with api.serving(service) as client:
        id = client.post("catalogues", {"products": ROWS, "rules": RULES}).json["id"]
        said(client.post(f"catalogues/{id}/copy", {"endpoint": "http://127.0.0.1:1/v1"}), 422, "is none of them")
        assert client.post(f"catalogues/{id}/copy", {"endpoint": writer.url}).status == 201
