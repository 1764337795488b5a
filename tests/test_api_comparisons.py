"""Comparisons over HTTP: products by prompt, by photo and from a catalogue, their images, and what may not be read."""

import io

import pytest

pytest.importorskip("fastapi")

from PIL import Image

from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.owner import Owner

from . import api

SMALL = {"size": 64, "steps": 1}
ROWS = [
    {"sku": "A-1", "title": "Red car", "category": "Cars", "prompt": "a red car", "Seats": "5", "Range": "300 km"},
    {"sku": "红/2", "title": "蓝色汽车", "category": "Cars", "prompt": "a blue car", "Seats": "4", "颜色": "蓝"},
]
RULES = {"rules": [{"loras": []}]}


@pytest.fixture
def service(tmp_path, checkpoint):
    return Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint)))


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


def png(size=(40, 30), mode="RGB", colour="teal"):
    content = io.BytesIO()
    Image.new(mode, size, colour).save(content, "PNG")
    return content.getvalue()


def queued(client, left, right, **more):
    return client.post("jobs", {"kind": "comparison", "config": {"left": left, "right": right, **SMALL, **more}})


def performed(service, stop_after=None):
    """Run the first job that may run, to its end or until so many images are there."""
    claim = service.queue.claim("here cpu", Owner.current())
    with Execution(service.queue, claim, service.database.folder) as execution:
        progress = execution.progress

        def counted(done, total, what):
            progress(done, total, what)
            if done == stop_after:
                execution.stop()

        execution.progress = counted
        perform(service.queue, execution, service.environment)
    return service.queue.get(claim.job.id)


def images(client, job):
    """The addresses of a job's images, by name."""
    items = client.get(f"jobs/{job}/files").json["items"]
    return {one["path"]: one["address"] for one in items if one["path"].endswith(".png")}


def test_both_are_drawn_and_a_stopped_job_goes_on_where_it_was(client, service):
    answer = queued(
        client,
        {"prompt": "a red car", "name": "Red"},
        {"prompt": "a blue car"},
        weights=[0.5, 1],
        specs=[["Seats", "5", "4"]],
    )
    assert answer.status == 201, answer.body
    assert answer.json["name"] == "Red / a blue car"
    job = performed(service, stop_after=3)
    assert job.state == "stopped", job.reason
    folder = service.database.folder / "jobs" / job.id / "comparison"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(path.name for path in before) == ["left-alone.png", "left.png", "right.png"]
    client.post(f"jobs/{job.id}/retry", {})
    job = performed(service)
    assert job.state == "done", job.reason
    assert {path: path.stat().st_mtime_ns for path in before} == before
    result = client.get(f"jobs/{job.id}").json["result"]
    assert [frame["weight"] for frame in result["frames"]] == [0.5, 1] and result["best"] in result["frames"]
    found = images(client, job.id)
    assert set(found) == {
        f"comparison/{name}.png"
        for name in ("card", "left", "right", "left-alone", "right-alone", "both-0.5", "both-1")
    }
    card = client.get(found["comparison/card.png"])
    assert (card.status, card.headers["content-type"]) == (200, "image/png")


def test_a_customers_photo_is_sent_and_stays_as_it_is(client, service):
    sent = client.send("PUT", "comparisons/photos/my%20car.png", body=png())
    assert sent.status == 200, sent.body
    assert client.send("PUT", "comparisons/photos/my%20car.png", body=png()).json == sent.json
    answer = queued(client, {"name": "Mine", **sent.json}, {"prompt": "a blue car"})
    assert answer.status == 201, answer.body
    job = performed(service)
    assert job.state == "done", job.reason
    assert job.result["frames"] == [] and "A photo stays as it is" in job.result["warnings"][0]
    assert set(images(client, job.id)) == {"comparison/card.png", "comparison/right.png"}
    broken = client.send("PUT", "comparisons/photos/car.png", body=b"no image")
    assert broken.status == 422 and "car.png: this photo" in broken.json["detail"]


def test_two_photos_need_no_base_model(client, tmp_path):
    (tmp_path / "photo.png").write_bytes(png())
    Image.new("L", (40, 30), 255).save(tmp_path / "mask.png")
    photo = {"photo": str(tmp_path / "photo.png"), "mask": str(tmp_path / "mask.png")}
    service = Service(Database(tmp_path / "empty"), Standalone(tmp_path / "empty"))
    with api.serving(service) as other:
        answer = queued(other, {"prompt": "a car"}, {"prompt": "a bus"})
        assert answer.status == 422 and "base_model is missing" in answer.json["detail"]
        assert queued(other, photo, photo).status == 201
        job = performed(service)
    assert (job.state, job.result["pictures"]) == ("done", []), job.reason


def test_products_of_a_catalogue_bring_what_their_list_says_of_them(client, service, tmp_path):
    rows = [{**ROWS[0], "photo": str(tmp_path / "photo.png")}, ROWS[1]]
    (tmp_path / "photo.png").write_bytes(png())
    made = client.post("catalogues", {"products": rows, "rules": RULES, "negative_prompt": "blurry"})
    id = made.json["id"]
    one, other = ({"catalogue": id, "product": sku} for sku in ("A-1", "红/2"))
    config = queued(client, one, other).json["config"]
    assert (config["left"]["name"], config["left"]["photo"]) == ("Red car", str(tmp_path / "photo.png"))
    assert config["right"]["name"] == "蓝色汽车" and config["right"]["prompt"].startswith("a blue car")
    assert sorted(config["specs"]) == [["Range", "300 km", ""], ["Seats", "5", "4"], ["颜色", "", "蓝"]]
    assert config["negative"].startswith("blurry")
    drawn = queued(client, {**one, "photo": "", "name": "Ours"}, other, specs=[["A", "1", "2"]]).json["config"]
    assert (drawn["left"]["photo"], drawn["left"]["name"], drawn["specs"]) == ("", "Ours", [["A", "1", "2"]])
    job = performed(service)
    assert job.state == "done" and set(images(client, job.id)) == {"comparison/card.png", "comparison/right.png"}
    missing = queued(client, {"catalogue": id, "product": "B"}, other)
    assert missing.status == 404 and "no product with the sku B" in missing.json["detail"]
    assert queued(client, {"catalogue": "none", "product": "B"}, other).status == 404


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"left": {}}, "left is missing"),
        ({"left": {"name": "a"}}, "left: there is neither a prompt nor a photo"),
        ({"left": "a car"}, "left is 'a car'; give prompt"),
        ({"left": {"prompt": "a", "lora": "x"}}, "unknown key 'lora'; did you mean loras?"),
        ({"left": {"prompt": "a", "loras": "x"}}, "loras is 'x'; give a list"),
        ({"left": {"prompt": "a", "loras": [{}]}}, "a file or a name"),
        ({"left": {"prompt": "a", "loras": [{"name": "none"}]}}, "LoRA none: the library has no model"),
        ({"left": {"prompt": "a", "mask": "x.png"}}, "mask is that of a photo"),
        ({"left": {"catalogue": "a"}}, "give both or neither"),
        ({"specs": [["a", "b"]]}, "row 1 of specs"),
        ({"specs": 3}, "specs is 3; give a list of rows"),
        ({"specs": "/none.csv"}, "none.csv: this table cannot be read"),
        ({"weights": []}, "weights is empty"),
        ({"weights": [11]}, "it must be from -10 to 10"),
        ({"layout": "round"}, "layout is 'round'; valid: wide, tall"),
        ({"sampler": "none"}, "sampler is 'none'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_it_is_queued(client, changes, words):
    config = {"left": {"prompt": "a car"}, "right": {"prompt": "a bus"}, **changes}
    answer = client.post("jobs", {"kind": "comparison", "config": config})
    assert answer.status == 422 and words in answer.json["detail"], answer.body
    assert client.get("jobs").json["items"] == []


def test_nothing_outside_of_the_roots_is_read(tmp_path, checkpoint):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("a.png", "a.csv", "a.safetensors"):
        (outside / name).write_bytes(png())
    service = Service(
        Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint), Bounds((tmp_path / "in",)))
    )
    with api.serving(service) as client:
        sent = client.send("PUT", "comparisons/photos/a.png", body=png()).json["photo"]
        for left, more in (
            ({"photo": str(outside / "a.png")}, {}),
            ({"photo": sent, "mask": str(outside / "a.png")}, {}),
            ({"prompt": "a", "loras": [{"file": str(outside / "a.safetensors")}]}, {}),
            ({"catalogue": str(outside), "product": "A"}, {}),
            ({"photo": sent}, {"specs": str(outside / "a.csv")}),
            ({"photo": sent}, {"base_model": str(outside / "a.safetensors")}),
            ({"photo": sent}, {"output_dir": str(outside)}),
        ):
            answer = queued(client, left, {"prompt": "b"}, **more)
            assert answer.status == 422 and "--allowed-root" in answer.json["detail"], (left, more, answer.body)
        assert queued(client, {"photo": sent}, {"prompt": "b"}).status == 201
