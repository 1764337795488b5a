"""Catalogues over HTTP: candidates, what people decide about them, what is handed over."""

import io
import json
import sys
import zipfile

import pytest

pytest.importorskip("fastapi")

from lora_scripts_ext import marks
from lora_scripts_ext.api import webhooks
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.catalogue import candidates
from lora_scripts_ext.catalogue.store import Catalogue
from lora_scripts_ext.errors import Interrupted
from lora_scripts_ext.hosts.standalone.drawer import StandaloneDrawer
from lora_scripts_ext.jobs.catalogues import Catalogues
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.owner import Owner
from lora_scripts_ext.training.lock import locked

from . import api, shop
from .catalogues import ROWS, made, performed, said


@pytest.fixture
def service(tmp_path, checkpoint):
    return Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint)))


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


def test_candidates_are_drawn_and_decided(client, service):
    id = made(client)
    path = f"catalogues/{id}"
    view = client.get(path).json
    assert (view["products"], view["counts"]["ready"], view["counts"]["unmatched"]) == (3, 2, 1)
    assert (view["categories"], view["problems"], view["manifest"], view["job"]) == (
        ["Bags", "Kitchen", "Shoes"],
        0,
        None,
        None,
    )
    first, second, third = client.get(f"{path}/products").json["items"]
    assert (first["sku"], first["rule"], first["matched"], first["attributes"]) == (
        "A-1",
        "worn",
        True,
        {"color": "red"},
    )
    assert first["prompt"].startswith("Red shoe") and second["alt"]["zh"] == "蓝色背包" and not third["matched"]

    drawing = client.post(f"{path}/generate", {})
    assert (drawing.status, drawing.json["waiting"]) == (201, 4)
    assert drawing.headers["location"].endswith(drawing.json["job"])
    # Asked again before it has begun, it is the same job.
    assert client.post(f"{path}/generate", {}).json == drawing.json
    job = performed(service)
    assert (job.state, job.result) == ("done", {"generated": 4, "failed": 0}), job.reason
    page = client.get(f"{path}/products?state=drawn&limit=1").json
    assert (
        len(page["items"]) == 1
        and client.get(f"{path}/products?state=drawn&cursor={page['next']}").json["next"] is None
    )
    one = page["items"][0]["candidates"][0]
    assert one["facts"]["base_model"]["name"] == "tiny" and one["made"].endswith("Z")
    image = client.get(one["image"])
    assert (image.status, image.headers["content-type"]) == (200, "image/png")
    small = client.get(one["thumbnail"])
    assert small.headers["content-type"] == "image/jpeg" and "immutable" in small.headers["cache-control"]

    product = f"{path}/products/{first['id']}"
    choice = client.post(
        f"{product}/candidates/2/decisions", {"verdict": "approved", "who": "Li", "crop": [0, 0, 0.5, 1]}
    )
    assert (choice.status, choice.json["who"], choice.json["crop"]) == (201, "Li", [0, 0, 0.5, 1])
    assert client.get(product).json["state"] == "approved"
    more = client.post(f"{product}/candidates", {"replaces": 1, "who": "Li"})
    assert (more.status, more.json["waiting"]) == (201, 1)
    assert performed(service).result == {"generated": 1, "failed": 0}
    assert [one["verdict"] for one in client.get(product).json["candidates"]] == ["rejected", "approved", ""]
    assert [one["number"] for one in client.get(f"{product}/decisions").json["items"]] == [1, 2]
    assert [one["id"] for one in client.get("catalogues").json["items"]] == [id]


def test_what_is_approved_is_handed_over(client, service):
    path = f"catalogues/{made(client)}"
    product = client.get(f"{path}/products").json["items"][0]["id"]
    client.post(f"{path}/generate", {})
    performed(service)
    client.post(f"{path}/products/{product}/candidates/2/decisions", {"verdict": "approved", "who": "Li"})
    said(client.get(f"{path}/finished.zip"), 404, "manifest.json: there is no such finished file")
    queued = client.post(f"{path}/export", {})
    assert queued.status == 201
    done = performed(service, "here files")
    assert (done.state, done.result["images"]) == ("done", 1), done.reason
    view = client.get(path).json
    assert view["export"]["state"] == "done"
    images = client.get(view["manifest"]).json["images"]
    assert [(one["sku"], one["candidate"], one["approval"]["by"]) for one in images] == [("A-1", 2, "Li")]
    finished = client.get(f"{path}/finished/{images[0]['file']}")
    assert finished.headers["content-type"] == "image/jpeg" and len(finished.body) == images[0]["bytes"]
    assert client.get(f"{path}/finished/manifest.csv").headers["content-type"].startswith("text/csv")
    whole = client.get(f"{path}/finished.zip")
    assert whole.headers["content-type"] == "application/zip" and "summer.zip" in whole.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(whole.body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "manifest.csv", images[0]["file"]]
        assert archive.read(images[0]["file"]) == finished.body
    assert client.get(f"{path}/finished.zip").body == whole.body
    for wrong in ("../catalogue.sqlite", "none.jpg", "%2e%2e/candidates/x.png"):
        assert client.get(f"{path}/finished/{wrong}").status == 404


def test_what_a_person_changes_of_a_product(client, service):
    path = f"catalogues/{made(client)}"
    third = client.get(f"{path}/products?state=unmatched").json["items"][0]
    product = f"{path}/products/{third['id']}"
    said(client.post(f"{product}/candidates", {}), 409, "no rule fits")
    changed = client.send("PATCH", product, {"prompt": "a teapot", "loras": [{"name": "gone", "weight": 0.5}]}).json
    assert (changed["prompt"], changed["matched"], changed["edited"]) == ("a teapot", True, ["prompt", "loras"])
    client.post(f"{product}/candidates", {"count": 1})
    assert performed(service).result == {"generated": 0, "failed": 1}
    found = client.get(product).json
    assert found["state"] == "failed" and "LoRA gone" in found["candidates"][0]["error"]
    assert client.send("PATCH", product, {"loras": None, "prompt": None}).json["matched"] is False
    for change, words in (
        ({"prompt": "x" * 5000}, "prompt"),
        ({"loras": [{}]}, "a file or a name"),
        ({"sku": "x"}, "sku"),
    ):
        said(client.send("PATCH", product, change), 422, words)
    for address in (
        f"{path}/products/99",
        "catalogues/none",
        f"{product}/candidates/9/image",
        f"{path}/finished/x.jpg",
    ):
        said(client.get(address), 404)
    said(client.post(f"{product}/candidates/1/decisions", {"verdict": "approved"}), 409, "is not drawn")
    said(client.get(f"{path}/products?cursor=x"), 422, "cursor")


def test_a_request_that_is_sent_again_draws_nothing_twice(client):
    id = made(client)
    answers = [
        client.post(f"catalogues/{id}/products/1/candidates", {"count": 2}, idempotency_key="k") for _ in range(2)
    ]
    assert answers[0].json == answers[1].json and answers[1].headers["idempotency-replayed"] == "true"
    assert len(client.get(f"catalogues/{id}/products/1").json["candidates"]) == 2
    key = {"idempotency_key": "new"}
    ids = {client.post("catalogues", {"products": ROWS}, **key).json["id"] for _ in range(2)}
    assert len(ids) == 1 and len(client.get("catalogues").json["items"]) == 2


def test_chosen_images_are_fed_back_up_to_a_share(client, service, tmp_path):
    path = f"catalogues/{made(client)}"
    client.post(f"{path}/generate", {})
    performed(service)
    for product in (1, 2):
        for number in (1, 2):
            client.post(f"{path}/products/{product}/candidates/{number}/decisions", {"verdict": "approved"})
    folder = shop.write_images(tmp_path / "set")
    before = (folder / "metadata.csv").read_text(encoding="utf-8") if (folder / "metadata.csv").exists() else ""
    fed = client.post(f"{path}/feedback", {"folder": str(folder), "share": 0.25, "trigger_word": "red shoe"}).json
    # Two of eight images.
    assert (len(fed["added"]), fed["left_out"], fed["share"]) == (2, 2, 0.25)
    assert [name.split("-")[0] for name in fed["added"]] == ["generated"] * 2
    assert {name.rsplit("-", 2)[0] for name in fed["added"]} == {"generated-A-1", "generated-红_2"}
    assert marks.read(folder / fed["added"][0]).sources == ("trainedAlgorithmicMedia",)
    after = (folder / "metadata.csv").read_text(encoding="utf-8")
    assert after.startswith(before.rstrip("\n")) and fed["added"][0] in after
    store = CaptionStore.open(folder)
    assert {name for name in store.names if store.entry(name).by == "generated"} == set(fed["added"])
    own = next(name for name in fed["added"] if "A-1" in name)
    assert store.entry(own).prompt and "red shoe" not in store.entry(own).prompt.lower()
    again = client.post(f"{path}/feedback", {"folder": str(folder), "share": 0.25}).json
    assert (again["added"], again["kept"]) == ([], 2)
    model = client.post("models", {"name": "shoes", "trigger_word": "red shoe"}).json["id"]
    fed = client.post(f"{path}/feedback", {"model": model, "share": 1}).json
    assert (len(fed["added"]), client.get(f"models/{model}/images?limit=9").json["items"][0]["name"]) == (
        4,
        fed["added"][0],
    )
    said(client.post(f"{path}/feedback", {"model": "none"}), 404, "model")


def test_a_job_that_is_stopped_goes_on_where_it_was(client, service):
    id = made(client)
    client.post(f"catalogues/{id}/generate", {})
    claim = service.queue.claim("here cpu", Owner.current())
    with Execution(service.queue, claim, service.database.folder) as execution:
        # After the first product.
        progress = execution.progress
        execution.progress = lambda done, total, what: (progress(done, total, what), execution.stop() if done else None)
        perform(service.queue, execution, service.environment)
    job = service.queue.get(claim.job.id)
    assert job.state == "stopped"
    with Catalogues(service.environment).opened(id) as catalogue:
        assert candidates.counts(catalogue) == {"waiting": 2, "drawn": 2, "failed": 0}
    client.post(f"jobs/{job.id}/retry", {})
    assert performed(service).result == {"generated": 2, "failed": 0}


def test_whoever_interrupts_the_host_stops_the_job(client, service, monkeypatch):
    def interrupted(self, request):
        raise Interrupted

    id = made(client)
    client.post(f"catalogues/{id}/generate", {})
    monkeypatch.setattr(StandaloneDrawer, "draw", interrupted)
    assert performed(service).state == "stopped"
    with Catalogues(service.environment).opened(id) as catalogue:
        assert candidates.counts(catalogue) == {"waiting": 4, "drawn": 0, "failed": 0}


def test_only_the_operator_says_what_images_are_signed_with(client, service, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    path = f"catalogues/{made(client)}"
    wanted = {"certificate": "/chain.pem", "key": "/key.pem"}
    assert client.post(f"{path}/export", {"credentials": wanted}).status == 422
    assert client.send("PATCH", path, {"credentials": wanted}).status == 422
    file = service.database.folder / "service.yaml"
    file.write_text("credentials: {certificate: chain.pem, key: key.pem}", encoding="utf-8")
    client.post(f"{path}/export", {})
    job = performed(service, "here files")
    assert job.state == "failed" and job.reason.startswith("Content Credentials need c2pa-python; install it with")
    file.write_text("webhooks: {shop: {url: https://shop.example, secrets: hush}}", encoding="utf-8")
    client.post(f"{path}/export", {})
    job = performed(service, "here files")
    assert job.state == "failed" and "its operator can see" in job.reason and "secrets" not in job.reason


def test_a_deleted_catalogue_leaves_what_it_has_handed_over(client, service):
    id = made(client)
    path, folder = f"catalogues/{id}", service.database.folder / "catalogues" / id
    said(client.send("DELETE", "catalogues/none"), 404)
    job = client.post(f"{path}/export", {}).json["id"]
    said(client.send("DELETE", path), 409, job)
    assert performed(service, "here files").state == "done"
    manifest = (folder / "finished" / "manifest.json").read_bytes()
    with locked(folder):
        said(client.send("DELETE", path), 422, "being written")
    assert client.send("DELETE", path).status == 204
    assert client.get("catalogues").json["items"] == [] and client.get(path).status == 404
    assert [one.relative_to(folder).as_posix() for one in sorted(folder.rglob("*"))] == [
        "finished", "finished/manifest.csv", "finished/manifest.json",
    ] and (folder / "finished" / "manifest.json").read_bytes() == manifest  # fmt: skip
    (aside,) = (service.database.folder / "trash").iterdir()
    catalogue = Catalogue.open(aside)
    assert [one.sku for one in catalogue.page().products] == ["A-1", "红/2", "C-3"]
    catalogue.close()

    # Without anything handed over nothing stays.
    id = made(client)
    assert client.send("DELETE", f"catalogues/{id}").status == 204
    assert not (service.database.folder / "catalogues" / id).exists()


def test_webhooks_hear_of_decisions_and_exports(client, service):
    (service.database.folder / "service.yaml").write_text(
        "webhooks: {shop: {url: 'https://shop.example', secret: s, events: [candidate_decided, catalogue_exported]}}"
    )
    sender = webhooks.of_service_file(service.database, service.queue)
    sender.collect()
    id = made(client)
    path = f"catalogues/{id}"
    with Catalogues(service.environment).opened(id) as catalogue:
        first = catalogue.by_sku("A-1").id
    client.post(f"{path}/generate", {"products": [first]})
    assert performed(service).state == "done"
    product = f"{path}/products/{first}"
    client.post(f"{product}/candidates/2/decisions", {"verdict": "approved", "who": "Li"})
    client.post(f"{product}/candidates", {"replaces": 1, "who": "Wang"})
    assert performed(service).result["generated"] == 1
    job = client.post(f"{path}/export", {}).json["id"]
    assert performed(service, "here files").state == "done"
    sender.collect()
    with service.database.reading() as connection:
        bodies = [json.loads(row["body"]) for row in connection.execute("SELECT body FROM deliveries ORDER BY id")]
    assert [one["event"] for one in bodies] == ["candidate_decided", "candidate_decided", "catalogue_exported"]
    assert bodies[0]["catalogue"] == {"id": id, "name": "summer"}
    assert bodies[0]["product"] == {"id": first, "sku": "A-1"}
    assert [(one["decision"]["verdict"], one["decision"]["who"]) for one in bodies[:2]] == [
        ("approved", "Li"), ("rejected", "Wang"),
    ]  # fmt: skip
    assert bodies[2]["job"]["id"] == job and bodies[2]["job"]["result"]["images"] == 1
