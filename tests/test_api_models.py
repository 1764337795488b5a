"""Models, images, captions and uploads over HTTP, under every version of FastAPI that a WebUI ships."""

import asyncio
import hashlib
import io
import json
import shutil
import time
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from PIL import Image

from lora_scripts_ext.api.access import on_loopback
from lora_scripts_ext.api.app import PREFIX, standalone
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.owner import Owner
from lora_scripts_ext.preparation import check

from . import photos, shop

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"
PARTS = 3


@pytest.fixture
def service(tmp_path):
    folder = tmp_path / "data"
    service = Service(Database(folder), Standalone(folder, str(tmp_path / "base.safetensors"), Bounds((tmp_path,))))
    yield service
    service.close()


@pytest.fixture
def client(service):
    return Client(TestClient(standalone(service, on_loopback()), base_url="http://127.0.0.1"))


class Client:
    """Requests below the prefix, whose status is looked at."""

    def __init__(self, client):
        self._client = client

    def __call__(self, method, path, status=200, **options):
        response = self._client.request(method, f"{PREFIX}{path}", **options)
        assert response.status_code == status, response.text
        if response.headers.get("content-type", "").startswith("application/") and response.content:
            return response.json() if "json" in response.headers["content-type"] else response.content
        return response.content

    def raw(self, method, path, **options):
        return self._client.request(method, f"{PREFIX}{path}", **options)


@pytest.fixture
def model(client):
    return client("POST", "/models", 201, json={"name": "brand", "kind": "brand_style", "trigger_word": "brnd"})["id"]


@pytest.fixture
def filled(client, service, model):
    """A model with six images and their captions."""
    shop.write_images(service.database.folder / "models" / model / "images")
    return model


def png(seed=1, side=40):
    out = io.BytesIO()
    photos.photo(seed, side=side).save(out, "PNG")
    return out.getvalue()


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "."), content)
    return out.getvalue()


def problem(client, method, path, status, code, **options):
    answer = client(method, path, status, **options)
    assert (answer["code"], answer["status"]) == (code, status)
    assert answer["detail"].endswith(".") and "\n" not in answer["detail"] and answer["remedy"]
    return answer


def test_a_model_is_made_changed_listed_and_forgotten(client, service, tmp_path):
    sent = {"name": "Möbel", "kind": "product", "config": {"epochs": 3}}
    first = client.raw("POST", "/models", json=sent, headers={"Idempotency-Key": "1"})
    assert first.status_code == 201
    model = first.json()
    assert first.headers["location"] == f"{PREFIX}/models/{model['id']}"
    assert client.raw("POST", "/models", json=sent, headers={"Idempotency-Key": "1"}).json() == model
    assert (model["state"]["standing"], model["counts"]["images"], model["problem"]) == ("draft", 0, "")
    problem(client, "POST", "/models", 409, "conflict", json={"name": "MÖBEL"})
    assert problem(client, "POST", "/models", 422, "invalid", json={"name": "con"})["field"] == "name"
    problem(client, "POST", "/models", 422, "invalid", json={"name": "a", "kind": "dog"})
    problem(client, "POST", "/models", 422, "invalid", json={"name": "a", "config": {"output_dir": "/etc"}})
    problem(client, "POST", "/models", 422, "invalid", json={"name": "a", "folder": "/etc"})
    changed = client("PATCH", f"/models/{model['id']}", json={"config": {"epochs": "many"}, "trigger_word": "mbl"})
    assert (changed["config"], changed["trigger_word"]) == ({"epochs": "many"}, "mbl")
    assert "epochs" in changed["problem"]
    for number in range(4):
        client("POST", "/models", 201, json={"name": f"m{number}"})
    page = client("GET", "/models?limit=3")
    rest = client("GET", f"/models?limit=3&cursor={page['next']}")
    assert (page["total"], len(page["items"]), len(rest["items"]), rest["next"]) == (5, 3, 2, None)
    assert [one["name"] for one in client("GET", "/models?search=mbl")["items"]] == ["Möbel"]
    client("DELETE", f"/models/{model['id']}?trash=true", 204)
    problem(client, "GET", f"/models/{model['id']}", 404, "not_found")
    assert list((tmp_path / "data" / "trash").iterdir())


def test_models_are_found_by_their_state(client, model):
    assert [one["id"] for one in client("GET", "/models?state=draft")["items"]] == [model]
    assert client("GET", "/models?state=training") == {"items": [], "total": 0, "next": None}


def test_trigger_words(client, model):
    suggested = client("GET", "/trigger-word?name=Red Sneaker")
    assert (suggested["known"], suggested["used"], suggested["advice"]) == ([], False, "")
    assert client("GET", "/trigger-word?word=BRND")["used"]
    assert not client("GET", f"/trigger-word?word=brnd&model={model}")["used"]
    assert client("GET", "/trigger-word?word=dog")["known"] == ["dog"]


def test_images_page_by_page_with_counts(client, filled):
    page = client("GET", f"/models/{filled}/images?limit=4")
    rest = client("GET", f"/models/{filled}/images?limit=4&cursor={page['next']}")
    items = page["items"] + rest["items"]
    assert [one["name"] for one in items] == [f"{number:02d}.png" for number in range(6)]
    assert (items[0]["caption"], items[0]["verdict"]) == ("a phone, on a table, soft light", None)
    assert (items[2]["width"], items[2]["height"]) == (64, 32)
    counts = client("POST", f"/models/{filled}/images/exclude", json={"images": ["00.png"]})
    assert (counts["included"], counts["excluded"]) == (5, 1)
    excluded = client("GET", f"/models/{filled}/images?show=excluded")
    assert [one["name"] for one in excluded["items"]] == ["00.png"]
    assert [one["name"] for one in client("GET", f"/models/{filled}/images?search=lamp")["items"]] == ["01.png"]
    problem(client, "POST", f"/models/{filled}/images/exclude", 404, "not_found", json={"images": ["x.png"]})
    assert client("GET", "/models")["items"][0]["covers"][0].endswith("/images/00.png?size=320")


def test_an_image_is_shown_small_whole_and_as_it_is(client, service, filled):
    folder = service.database.folder / "models" / filled / "images"
    path = f"/models/{filled}/images/02.png"
    response = client.raw("GET", path)
    assert (response.content, response.headers["content-type"]) == ((folder / "02.png").read_bytes(), "image/png")
    assert client.raw("GET", path, headers={"If-None-Match": response.headers["etag"]}).status_code == 304
    with Image.open(io.BytesIO(client("GET", f"{path}?size=100"))) as small:
        assert (small.format, small.size) == ("JPEG", (64, 32))
    photos.photo(3, 64).save(folder / "ä b#.tiff")
    listed = client("GET", f"/models/{filled}/images?search=tiff")["items"][0]
    with Image.open(io.BytesIO(client("GET", listed["address"].removeprefix(PREFIX) + "?png=true"))) as whole:
        assert (whole.format, whole.size) == ("PNG", (64, 64))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    problem(client, "GET", f"/models/{filled}/images/broken.png?size=160", 404, "not_found")
    broken = client("GET", f"/models/{filled}/images?search=broken")["items"][0]
    assert (broken["width"], broken["bytes"]) == (None, 10)
    for name in ("../model.json", "..%2f..%2f..%2flibrary.sqlite3", "metadata.csv", ".lora_trainer/x.png", "no.png"):
        assert client.raw("GET", f"/models/{filled}/images/{name}").status_code == 404


def test_an_image_is_rotated_and_cropped_by_hand(client, service, filled):
    images = service.database.folder / "models" / filled / "images"
    (images / "sub").mkdir()
    photos.photo(3, 64).crop((0, 0, 64, 48)).save(images / "sub" / "ä b#.png")
    before = {path: path.read_bytes() for path in images.rglob("*.png")}
    client("PATCH", f"/models/{filled}", json={"config": {"resolution": [64], "bucket_step": 16}})
    first = item(client, filled, "ä b")
    path = first["address"].removeprefix(PREFIX)
    assert (first["rotate"], first["crop"], first["thumbnail"]) == (0, None, f"{first['address']}?size=320")
    assert (first["width"], first["height"]) == (64, 48)
    # Of the buckets in steps of 16 that have at most 64 x 64 pixels; 80 x 60 of it are resized to.
    assert first["trained"] == {"width": 80, "height": 48, "crop": [0, 0.1, 1, 0.9]}
    edited = client("PATCH", path, json={"rotate": 90, "crop": [0, 0, 1, 0.75]})
    assert edited == item(client, filled, "ä b")
    assert (edited["rotate"], edited["crop"]) == (90, [0, 0, 1, 0.75])
    assert (edited["width"], edited["height"]) == (48, 48)
    assert edited["trained"] == {"width": 64, "height": 64, "crop": [0, 0, 1, 1]}
    assert edited["thumbnail"] == f"{first['address']}?size=320&edit=90,0,0,1,0.75"
    assert sizes(client, edited) == [(48, 48), (48, 48), (64, 48), (64, 48)]
    assert client("PATCH", path, json={"rotate": 180})["crop"] == [0.25, 0, 1, 1]
    assert client("PATCH", path, json={"crop": None})["rotate"] == 180
    assert client("PATCH", path, json={"rotate": 0}) == first
    assert {path: path.read_bytes() for path in images.rglob("*.png")} == before


def item(client, model, search):
    return client("GET", f"/models/{model}/images", params={"search": search})["items"][0]


def sizes(client, item):
    """Of the thumbnail, of the whole image as PNG, and of both without the edit."""
    address = item["address"].removeprefix(PREFIX)
    thumbnail = item["thumbnail"].removeprefix(PREFIX)
    found = []
    for one in (thumbnail, f"{address}?png=true", f"{thumbnail}&original=true", f"{address}?png=true&original=true"):
        with Image.open(io.BytesIO(client("GET", one))) as shown:
            found.append(shown.size)
    return found


def test_edits_that_make_no_sense_are_refused(client, service, filled):
    path = f"/models/{filled}/images/00.png"
    for wrong, field in (
        ({}, "rotate"), ({"rotate": 45}, "rotate"), ({"rotate": None}, "rotate"), ({"rotate": "x"}, "rotate"),
        ({"rotate": [90]}, "rotate"), ({"crop": [0, 0, 1]}, "crop"), ({"crop": [0, 0, 1, 2]}, "crop"),
        ({"crop": [1, 0, 0, 1]}, "crop"), ({"crop": "all"}, "crop"), ({"crop": [0, 0, 0.4, 1]}, "crop"),
        ({"crop": [0] * 1000}, "crop"), ({"turn": 90}, "turn"),
    ):  # fmt: skip
        answer = problem(client, "PATCH", path, 422, "invalid", json=wrong)
        assert answer["field"].partition(".")[0] == field, wrong
    nan = {"content": '{"crop": [NaN, 0, Infinity, 1]}', "headers": {"Content-Type": "application/json"}}
    problem(client, "PATCH", path, 422, "invalid", **nan)
    for name in ("no.png", "..%2f..%2fmodel.json", "metadata.csv", ".lora_trainer/x.png"):
        assert client.raw("PATCH", f"/models/{filled}/images/{name}", json={"rotate": 90}).status_code in (404, 405)
    assert not (service.database.folder / "models" / filled / "images" / ".lora_trainer" / "edits.json").exists()
    listed = client.raw("GET", f"/models/{filled}/images?limit=1")
    (service.database.folder / "models" / filled / "images" / ".lora_trainer" / "edits.json").write_text("[]")
    answer = problem(client, "GET", f"/models/{filled}/images", 422, "invalid")
    assert "damaged" in answer["detail"] and listed.status_code == 200
    assert client("GET", "/models")["items"][0]["covers"] == []


def test_an_image_in_a_folder_of_the_server_is_edited_beside_it(client, tmp_path):
    folder = shop.write_images(tmp_path / "theirs")
    model = client("POST", "/models", 201, json={"name": "m", "kind": "product", "folder": str(folder)})
    edited = client("PATCH", f"/models/{model['id']}/images/02.png", json={"rotate": 270})
    assert (edited["width"], edited["height"]) == (32, 64)
    assert client("GET", "/models")["items"][0]["covers"][2] == edited["thumbnail"]
    assert "270" in (folder / ".lora_trainer" / "edits.json").read_text(encoding="utf-8")


def test_what_is_trained_on_follows_the_draft(client, filled):
    def trained(**config):
        client("PATCH", f"/models/{filled}", json={"config": config})
        return item(client, filled, "02.png")["trained"]

    # 64 x 32 pixels, without a base model that could be looked at.
    assert trained() is None
    square = {"resolution": [32], "enable_bucket": False}
    assert trained(**square) == {"width": 32, "height": 32, "crop": [0.25, 0, 0.75, 1]}
    assert trained(**square, epochs="many")["width"] == 32
    assert trained(**square, crop="everywhere") is None
    client("PATCH", f"/models/{filled}", json={"config": {"resolution": [32], "enable_bucket": False, "crop": "top"}})
    client("PATCH", f"/models/{filled}/images/02.png", json={"rotate": 90})
    assert item(client, filled, "02.png")["trained"]["crop"] == [0, 0, 1, 0.5]


def test_the_side_of_the_base_model_is_found_out_beside_the_list(client, service, filled, tmp_path, checkpoint):
    shutil.copy(checkpoint, tmp_path / "base.safetensors")
    until = time.monotonic() + 60
    while item(client, filled, "02.png")["trained"] is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    # Of its 512 x 512 pixels; resized to 704 x 352.
    assert item(client, filled, "02.png")["trained"] == {
        "width": 704,
        "height": 320,
        "crop": [0, 0.045455, 1, 0.954545],
    }


def test_the_report_is_that_of_the_last_check(client, service, filled):
    assert not client("GET", f"/models/{filled}/report")["checked"]
    check.check(service.database.folder / "models" / filled / "images", None, 512, "", lambda *_: None)
    report = client("GET", f"/models/{filled}/report")
    assert (report["checked"], report["resolution"], report["counts"]["bad"]) == (True, 512, 6)
    assert report["pictures"][0]["reasons"]
    item = client("GET", f"/models/{filled}/images?show=bad")["items"][0]
    assert (item["verdict"], item["reasons"][0]["code"]) == ("bad", "too_small")


def test_captions_are_written_changed_at_once_and_undone(client, filled):
    path = f"/models/{filled}/images/00.png/caption"
    fields = {"subject": "shoe", "attributes": ["red", " "], "scene": "in a box"}
    written = client("PUT", path, json={"fields": fields})
    assert (written["caption"], written["fields"]["attributes"]) == ("shoe, red, in a box", ["red"])
    assert client("PUT", path, json={"text": " a  shoe "})["caption"] == "a shoe"
    assert client("PUT", path, json={"text": ""})["caption"] == ""
    problem(client, "PUT", path, 422, "invalid", json={})
    problem(client, "PUT", path, 422, "invalid", json={"fields": {}, "template": "{evil}"})
    problem(client, "PUT", f"/models/{filled}/images/no.png/caption", 404, "not_found", json={"text": "x"})
    change = {"operation": "replace", "find": "table", "replacement": "desk", "search": "lamp"}
    shown = client("POST", f"/models/{filled}/captions", json={**change, "preview": True})
    assert (shown["changed"], shown["changes"][0]["after"]) == (1, "a lamp, on a desk, soft light")
    done = client("POST", f"/models/{filled}/captions", json=change)
    assert (done["changes"], done["undoable"][0]) == (shown["changes"], "table → desk")
    words = client("GET", f"/models/{filled}/captions")["words"]
    assert {"word": "on a desk", "images": 1} in words
    assert client("POST", f"/models/{filled}/captions/undo")["changed"] == 1
    assert client("GET", f"/models/{filled}/captions")["undoable"][0] == "Caption of 00.png"
    for wrong in ({"operation": "replace"}, {"operation": "add_tag", "tag": "a,b"}, {"operation": "x"}):
        problem(client, "POST", f"/models/{filled}/captions", 422, "invalid", json=wrong)


def test_a_file_in_parts(client, filled):
    content = zipped(a__png=png(1), b__png=png(2), notes__exe=b"MZ", metadata__csv="filename,prompt\na.png,a thing\n")
    sha256 = hashlib.sha256(content).hexdigest()
    announced = {"name": "../new.zip", "size": len(content), "sha256": sha256}
    upload = client("POST", f"/models/{filled}/uploads", 201, json=announced)
    assert (upload["name"], upload["received"]) == ("new.zip", 0)
    path, step = f"/uploads/{upload['id']}", len(content) // PARTS + 1
    for offset in range(0, len(content), step):
        part = content[offset : offset + step]
        assert client("PUT", f"{path}?offset={offset}", content=part)["received"] == offset + len(part)
        wrong = problem(client, "PUT", f"{path}?offset=0", 409, "conflict", content=b"x")
        assert wrong["received"] == offset + len(part) == client("GET", path)["received"]
        if offset + step < len(content):
            problem(client, "POST", f"{path}/complete", 409, "conflict")
    problem(client, "PUT", f"{path}?offset={len(content)}", 413, "too_large", content=b"x")
    assert len(client("GET", f"/models/{filled}/uploads")["items"]) == 1
    taken = client("POST", f"{path}/complete", 201)
    assert sorted(taken["images"])[:2] == ["a.png", "b.png"]
    assert {"name": "notes.exe", "reason": "is no image and no caption"} in taken["skipped"]
    assert taken["counts"]["images"] == 8
    problem(client, "GET", path, 404, "not_found")
    problem(client, "POST", f"/models/{filled}/uploads", 422, "invalid", json={"name": "a.png", "size": 0})
    problem(client, "POST", f"/models/{filled}/uploads", 413, "too_large", json={"name": "a.png", "size": 5 << 30})
    problem(client, "POST", "/models/no/uploads", 404, "not_found", json={"name": "a.png", "size": 1})
    upload = client("POST", f"/models/{filled}/uploads", 201, json={"name": "a.zip", "size": 9})
    client("PUT", f"/uploads/{upload['id']}?offset=0", content=b"not a zip")
    broken = problem(client, "POST", f"/uploads/{upload['id']}/complete", 422, "invalid")
    assert broken["detail"].startswith("a.zip: this is not a zip")
    client("DELETE", f"/uploads/{upload['id']}", 204)


def test_a_file_in_one_request(client, service, filled):
    taken = client("PUT", f"/models/{filled}/images/x/../new ä.png", 201, content=png(5))
    assert (taken["images"], taken["counts"]["images"]) == (["new ä.png"], 7)
    again = client("PUT", f"/models/{filled}/images/new ä.png", 201, content=png(5))
    assert again["counts"]["images"] == 7
    other = client("PUT", f"/models/{filled}/images/new ä.png", 201, content=png(6))
    assert other["images"] == ["new ä_2.png"]
    problem(client, "PUT", f"/models/{filled}/images/a.exe", 422, "invalid", content=b"MZ")
    problem(client, "PUT", f"/models/{filled}/images/a.png", 400, "bad_request", content=iter([b"x"]))
    problem(client, "PUT", f"/models/{filled}/images/a.png", 422, "invalid", content=b"")
    assert not list((service.database.folder / "uploads").iterdir())


def test_a_body_that_ends_early_leaves_what_has_come(client, service, filled):
    upload = client("POST", f"/models/{filled}/uploads", 201, json={"name": "a.png", "size": 100})
    app = standalone(service, on_loopback())
    answer = asyncio.run(broken(app, f"{PREFIX}/uploads/{upload['id']}", b"offset=0", b"12345", 100))
    assert answer in (None, 400)
    assert client("GET", f"/uploads/{upload['id']}")["received"] == 5
    answer = asyncio.run(broken(app, f"{PREFIX}/models/{filled}/images/a.png", b"", b"12345", 100))
    assert answer in (None, 400)
    assert client("GET", f"/models/{filled}")["counts"]["images"] == 6
    assert len(list((service.database.folder / "uploads").iterdir())) == 1


async def broken(app, path, query, content, length):
    """A PUT whose connection breaks after ``content``; the status that is answered."""
    messages = iter([{"type": "http.request", "body": content, "more_body": True}, {"type": "http.disconnect"}])
    status = []

    async def receive():
        return next(messages)

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])

    headers = [(b"host", b"127.0.0.1"), (b"content-length", str(length).encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}  # fmt: skip
    await app(scope, receive, send)
    return status[0] if status else None


def test_a_large_body_is_not_held_in_memory_and_holds_nobody_up(client, service, model):
    import tracemalloc

    size = 40 << 20
    upload = client("POST", f"/models/{model}/uploads", 201, json={"name": "a.bin", "size": size})
    app = standalone(service, on_loopback())
    longest = 0.0

    async def run():
        nonlocal longest
        blocks = size // (256 << 10)

        async def watch():
            nonlocal longest
            while True:
                begun = time.perf_counter()
                await asyncio.sleep(0.005)
                longest = max(longest, time.perf_counter() - begun)

        watching = asyncio.create_task(watch())
        await broken_free(app, f"{PREFIX}/uploads/{upload['id']}", blocks)
        watching.cancel()

    tracemalloc.start()
    asyncio.run(run())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert client("GET", f"/uploads/{upload['id']}")["received"] == size
    assert peak < 16 << 20
    assert longest < 0.5


async def broken_free(app, path, blocks):
    """A PUT of ``blocks`` blocks of 256 KiB."""
    left = blocks

    async def receive():
        nonlocal left
        left -= 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(256 << 10), "more_body": left > 0}

    async def send(message):
        assert message.get("status", 200) == 200

    headers = [(b"host", b"127.0.0.1"), (b"content-length", str(blocks << 18).encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": b"offset=0", "root_path": "", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}  # fmt: skip
    await app(scope, receive, send)


def test_jobs_of_a_model_take_its_preset_draft_and_trigger_word(client, service, filled):
    client("PATCH", f"/models/{filled}", json={"config": {"lora_rank": 7}})
    wanted = {"config": {"epochs": 2}, "priority": 3, "window": "22:00-06:00"}
    answer = client.raw("POST", f"/models/{filled}/train", json=wanted, headers={"Idempotency-Key": "t"})
    job = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"{PREFIX}/jobs/{job['id']}"
    assert (job["kind"], job["name"], job["model"], job["priority"]) == ("train", "brand", filled, 3)
    config = job["config"]
    assert (config["lora_rank"], config["epochs"], config["trigger_word"], config["output_name"]) == (
        7,
        2,
        "brnd",
        "brand",
    )
    assert config["caption_dropout"] == 0.05  # configs/brand_style.yaml
    assert config["train_data_dir"].endswith(f"models/{filled}/images")
    assert config["output_dir"].endswith(f"models/{filled}/runs/1")
    again = client.raw("POST", f"/models/{filled}/train", json=wanted, headers={"Idempotency-Key": "t"})
    assert again.json()["id"] == job["id"]
    second = client("POST", f"/models/{filled}/train", 201)
    assert second["config"]["output_dir"].endswith(f"models/{filled}/runs/2")
    client("PATCH", f"/models/{filled}", json={"config": {"resolution": [768, 512]}})
    for kind in ("check", "caption", "prepare"):
        queued = client("POST", f"/models/{filled}/{kind}", 201)
        assert (queued["kind"], queued["model"]) == (kind, filled)
        assert queued["config"].get("resolution", 768) == 768
    assert client("GET", f"/models/{filled}")["state"]["standing"] == "queued"
    assert len(client("GET", f"/jobs?model={filled}")["items"]) == 5
    problem(client, "POST", f"/models/{filled}/train", 422, "invalid", json={"config": {"trigger_word": "x"}})
    assert problem(client, "POST", f"/models/{filled}/train", 422, "invalid", json={"config": {"epochs": 0}})["field"]
    problem(client, "POST", f"/models/{filled}/caption", 422, "invalid", json={"config": {"captioner": "x"}})
    problem(client, "DELETE", f"/models/{filled}", 409, "conflict")
    runs = service.database.folder / "models" / filled / "runs"
    assert sorted(path.name for path in runs.iterdir()) == ["1", "2"]


def finish_training(client, service, model):
    """A training that is done; its job and its LoRA."""
    job = client("POST", f"/models/{model}/train", 201)
    claim = service.queue.claim("here cpu", Owner.current())
    lora = service.database.folder / "models" / model / "runs" / "1" / "brand.safetensors"
    lora.write_bytes(b"0123456789")
    service.queue.finish(claim, "done", "", {"lora": str(lora), "loss": float("nan")})
    return job, lora


def test_versions_and_their_files(client, service, filled):
    job, lora = finish_training(client, service, filled)
    version = client("GET", f"/models/{filled}/versions")["items"][0]
    assert (version["number"], version["job"], version["facts"]["loss"]) == (1, job["id"], None)
    response = client.raw("GET", version["address"].removeprefix(PREFIX), headers={"Range": "bytes=2-4"})
    assert (response.status_code, response.content) == (206, b"234")
    lora.unlink()
    problem(client, "GET", f"/models/{filled}/versions/1/file", 404, "not_found")
    problem(client, "GET", f"/models/{filled}/versions/2", 404, "not_found")


def test_images_in_a_folder_of_the_server_are_read_not_written(client, service, tmp_path):
    folder = shop.write_images(tmp_path / "shop")
    model = client("POST", "/models", 201, json={"name": "shop", "folder": str(folder)})
    assert model["counts"]["images"] == 6
    problem(client, "PUT", f"/models/{model['id']}/images/a.png", 403, "forbidden", content=png())
    problem(client, "POST", f"/models/{model['id']}/uploads", 403, "forbidden", json={"name": "a.png", "size": 1})
    assert client("POST", f"/models/{model['id']}/train", 201)["config"]["train_data_dir"] == str(folder)
    Models(service.database).change(model["id"], config={"metadata_path": "/etc/passwd"})
    answer = client("GET", f"/models/{model['id']}")
    assert answer["counts"] is None and "allowed-root" in answer["problem"]
    problem(client, "GET", f"/models/{model['id']}/images", 422, "invalid")


def test_answers_are_as_the_document_says(client, service, filled):
    jsonschema = pytest.importorskip("jsonschema")
    check.check(service.database.folder / "models" / filled / "images", None, 512, "", lambda *_: None)
    # The document of the pinned FastAPI: pydantic 1 does not say what may be null.
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    finish_training(client, service, filled)
    upload = client("POST", f"/models/{filled}/uploads", 201, json={"name": "a.png", "size": 9})["id"]
    change = {"operation": "add_tag", "tag": "new"}
    asked = [
        ("GET", "/models", "/models", 200, None),
        ("GET", "/models/{id}", f"/models/{filled}", 200, None),
        ("PATCH", "/models/{id}", f"/models/{filled}", 200, {"kind": "car"}),
        ("GET", "/models/{id}/versions", f"/models/{filled}/versions", 200, None),
        ("GET", "/models/{id}/versions/{number}/review", f"/models/{filled}/versions/1/review", 200, None),
        ("POST", "/models/{id}/versions/{number}/review", f"/models/{filled}/versions/1/review", 201, None),
        ("GET", "/models/{id}/versions/{number}/review", f"/models/{filled}/versions/1/review", 200, None),
        (
            "POST",
            "/models/{id}/versions/{number}/decisions",
            f"/models/{filled}/versions/1/decisions",
            201,
            {"verdict": "approved"},
        ),
        ("GET", "/models/{id}/versions/{number}/decisions", f"/models/{filled}/versions/1/decisions", 200, None),
        ("GET", "/models/{id}/publications", f"/models/{filled}/publications", 200, None),
        ("GET", "/models/{id}/images", f"/models/{filled}/images", 200, None),
        ("GET", "/models/{id}/report", f"/models/{filled}/report", 200, None),
        ("GET", "/models/{id}/captions", f"/models/{filled}/captions", 200, None),
        ("POST", "/models/{id}/captions", f"/models/{filled}/captions", 200, change),
        ("POST", "/models/{id}/captions/undo", f"/models/{filled}/captions/undo", 200, None),
        ("PUT", "/models/{id}/images/{name}/caption", f"/models/{filled}/images/00.png/caption", 200, {"text": "x"}),
        ("POST", "/models/{id}/images/exclude", f"/models/{filled}/images/exclude", 200, {"images": ["00.png"]}),
        ("POST", "/models/{id}/train", f"/models/{filled}/train", 201, None),
        ("GET", "/models/{id}/uploads", f"/models/{filled}/uploads", 200, None),
        ("GET", "/uploads/{id}", f"/uploads/{upload}", 200, None),
        ("GET", "/trigger-word", "/trigger-word?name=a", 200, None),
    ]
    for method, path, address, status, body in asked:
        answer = client(method, address, status, **({"json": body} if body else {}))
        operation = document["paths"][PREFIX + path][method.lower()]
        content = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        schema = {**content, "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)


def test_every_route_is_in_the_document(client):
    paths = client("GET", "/openapi.json")["paths"]
    for path in (
        "/models",
        "/models/{id}/images/{name}/caption",
        "/uploads/{id}",
        "/models/{id}/train",
        "/trigger-word",
    ):
        assert f"{PREFIX}{path}" in paths
    body = paths[f"{PREFIX}/uploads/{{id}}"]["put"]["requestBody"]
    assert "application/octet-stream" in body["content"]
    assert json.dumps(paths)
