"""Catalogues over HTTP: lists, rules, candidates, decisions, what is handed over, and what may not be read."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

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
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.owner import Owner
from lora_scripts_ext.training.lock import locked

from . import api, shop
from .test_products_copywriting import Service as FakeService

ROWS = [
    {"sku": "A-1", "title": "Red shoe", "category": "Shoes", "color": "red", "tags": "summer"},
    {"sku": "红/2", "title": "蓝色背包", "category": "Bags", "color": "蓝色"},
    {"sku": "C-3", "title": "Teapot", "category": "Kitchen"},
]
RULES = {"rules": [{"name": "worn", "when": {"category": ["Shoes", "Bags"]}, "loras": []}]}
SMALL = {"width": 32, "height": 32, "steps": 1, "candidates": 2, "channels": ["social-square"]}


@pytest.fixture
def service(tmp_path, checkpoint):
    return Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint)))


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


def performed(service, lane="here cpu"):
    """Run the first job that may run, to its end."""
    claim = service.queue.claim(lane, Owner.current())
    folder = service.database.folder
    with Execution(service.queue, claim, folder) as execution:
        perform(service.queue, execution, service.environment)
    return service.queue.get(claim.job.id)


def made(client, **more):
    answer = client.post("catalogues", {"name": "summer", "products": ROWS, "rules": RULES, **SMALL, **more})
    assert answer.status == 201, answer.body
    return answer.json["id"]


def said(answer, status, *words):
    assert answer.status == status, answer.body
    for word in words:
        assert word in answer.json["detail"], answer.body
    return answer.json


def test_from_rows_to_a_manifest(client, service):
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
    for wrong in ("../catalogue.sqlite", "none.jpg", "%2e%2e/candidates/x.png"):
        assert client.get(f"{path}/finished/{wrong}").status == 404
    assert [one["id"] for one in client.get("catalogues").json["items"]] == [id]


def test_a_list_is_tried_sent_and_read_again(client, tmp_path):
    found = client.post("catalogues/check", {"products": ROWS, "rules": RULES}).json
    assert (found["products"], found["rules"], found["unmatched"]) == (3, {"worn": 2}, ["C-3"])
    assert client.get("catalogues").json["items"] == []

    id = client.post("catalogues", {"name": "sent", "rules": RULES}).json["id"]
    path = f"catalogues/{id}"
    text = "货号,标题,类目\nA,Red shoe,Shoes\nB,Bag,Bags\n,none,Bags\n"
    changes = client.send("PUT", f"{path}/list/list.csv", body=text.encode("utf-16"))
    assert (changes.status, changes.json) == (200, {"added": ["A", "B"], "changed": [], "removed": []})
    assert client.get(f"{path}/problems").json["items"][0]["row"] == 4
    assert client.get(path).json["columns"]["title"] == "标题"
    broken = client.send("PUT", f"{path}/list/list.csv", body=b"nothing,known\n1,2\n")
    said(broken, 422)
    assert client.get(path).json["products"] == 2
    found = client.post(f"{path}/check", {"rules": {"rules": [{"when": {"category": "Bags"}}]}}).json
    assert (found["rules"], found["unmatched"]) == ({"rule 1": 1}, ["A"])
    assert client.get(path).json["counts"]["ready"] == 2
    changed = client.send("PATCH", path, {"rules": {"rules": [{"when": {"category": "Bags"}}]}}).json
    assert changed["counts"]["unmatched"] == 1
    said(client.send("PATCH", path, {"rules": {"rules": [{"whenn": {}}]}}), 422, "whenn")
    assert client.get(path).json["counts"]["unmatched"] == 1
    rows = [{"sku": "B", "title": "New bag", "category": "Bags"}]
    answer = client.post(f"{path}/read", {"products": rows})
    assert answer.json == {"added": [], "changed": ["B"], "removed": ["A"]}
    photos = shop.write_images(tmp_path / "photos")
    of_photos = client.post("catalogues", {"source": str(photos), "rules": RULES}).json
    assert of_photos["products"] == 6


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


def test_channels_say_what_has_to_be_answered(client):
    found = {one["name"]: one for one in client.get("channels?market=CN").json["items"]}
    assert found["amazon-main"]["visible_mark"] == "forbidden" and found["amazon-main"]["answers"]
    assert found["amazon-main"]["source"] and found["social-square"]["question"] is None
    assert all(one["question"] is None for one in client.get("channels").json["items"])


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


def test_the_rules_are_shown_as_they_can_be_sent(client, tmp_path):
    (tmp_path / "rules.yaml").write_text(
        "rules:\n- {name: worn, when: {category: Shoes}, loras: [{file: loras/shoe.safetensors, weight: 0.80}]}\n",
        encoding="utf-8",
    )
    path = f"catalogues/{made(client, rules=str(tmp_path / 'rules.yaml'))}"
    (rule,) = client.get(f"{path}/rules").json["rules"]
    lora = {"file": str(tmp_path / "loras/shoe.safetensors"), "weight": "0.80"}
    assert rule == {"name": "worn", "when": {"category": "Shoes"}, "loras": [lora]}
    assert client.send("PATCH", path, {"rules": {"rules": [rule, {"when": {}}]}}).status == 200
    assert client.get(f"{path}/rules").json["rules"] == [rule, {"when": {}}]
    assert client.get(f"{path}/products?limit=1").json["items"][0]["loras"][0]["weight"] == 0.8
    assert client.get(f"catalogues/{client.post('catalogues', {}).json['id']}/rules").json == {"rules": []}


def test_nothing_outside_of_the_roots_is_read(tmp_path, checkpoint):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "list.csv").write_text("sku,title\nA,secret\n")
    (outside / "rules.yaml").write_text("rules: []\n")
    (outside / "photo.png").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "list.csv").write_text(f"sku,photo\nA,{outside / 'photo.png'}\n")
    environment = Standalone(tmp_path / "data", str(checkpoint), Bounds((root,)))
    service = Service(Database(tmp_path / "data"), environment)
    with api.serving(service) as client:
        for wrong in (
            {"source": str(outside / "list.csv")},
            {"source": str(outside)},
            {"rules": str(outside / "rules.yaml")},
            {"templates": str(outside / "rules.yaml")},
            {"glossary": str(outside / "rules.yaml")},
            {"words": str(outside / "rules.yaml")},
            {"base_model": str(outside / "photo.png")},
            {"channels": [str(outside / "rules.yaml")]},
        ):
            for address in ("catalogues", "catalogues/check"):
                said(client.post(address, {"products": ROWS, **wrong}), 422, "--allowed-root")
        found = client.post("catalogues/check", {"source": str(root / "list.csv")}).json
        assert "--allowed-root" in found["problems"][0]["sentence"]
        found = client.post("catalogues/check", {"products": [{"sku": "A", "photo": str(outside / "photo.png")}]}).json
        assert "--allowed-root" in found["problems"][0]["sentence"]
        id = made(client)
        said(client.send("PATCH", f"catalogues/{id}", {"rules": str(outside / "rules.yaml")}), 422, "--allowed-root")
        said(client.post(f"catalogues/{id}/feedback", {"folder": str(outside)}), 422, "--allowed-root")
        said(client.post(f"catalogues/{id}/export", {"output_dir": str(outside)}), 422, "--allowed-root")
        said(
            client.post(f"catalogues/{id}/generate", {"base_model": str(outside / "photo.png")}), 422, "--allowed-root"
        )
        assert client.get("catalogues").json["items"][0]["products"] == 3


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


def test_another_column_reads_the_list_again_and_a_mistake_changes_nothing(client, tmp_path):
    source = tmp_path / "list.csv"
    source.write_text("sku,old,title\nA,Lamp,Red shoe\n", encoding="utf-8")
    path = f"catalogues/{client.post('catalogues', {'source': str(source), 'rules': RULES}).json['id']}"
    answer = client.send("PATCH", path, {"columns": {"title": "nothing"}, "rules": {"rules": [{"loras": []}]}})
    said(answer, 422, "no column of the list")
    assert client.get(path).json["counts"]["unmatched"] == 1
    assert client.send("PATCH", path, {"columns": {"title": "old"}}).json["columns"]["title"] == "old"
    assert client.get(f"{path}/products").json["items"][0]["title"] == "Lamp"
    assert client.send("PATCH", path, {"steps": 7}).json["settings"]["steps"] == 7
    said(client.send("PATCH", path, {"steps": 0}), 422, "steps is 0")


def test_of_two_changes_at_once_neither_is_lost(client):
    path = f"catalogues/{made(client)}"
    changes = [{"channels": ["shopify"]}, {"market": "CN"}, {"rules": RULES}, {"candidates": 7}]
    with ThreadPoolExecutor(4) as pool:
        assert [one.status for one in pool.map(lambda change: client.send("PATCH", path, change), changes)] == [200] * 4
    settings = client.get(path).json["settings"]
    assert (settings["channels"], settings["market"], settings["candidates"]) == (["shopify"], "CN", 7)


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
