"""Catalogues over HTTP: lists, columns, rules, channels, and what may not be read."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

pytest.importorskip("fastapi")

from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database

from . import api, shop
from .catalogues import ROWS, RULES, made, said


@pytest.fixture
def service(tmp_path, checkpoint):
    return Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint)))


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


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


def test_a_part_of_a_list_leaves_the_other_products(client, tmp_path):
    (tmp_path / "list.csv").write_text("Item,Name,Group,photo\nA,Red shoe,Shoes,a.png\nB,Bag,Bags,\nC,Hat,Hats,\n")
    for name in ("a.png", "d.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    columns = {"sku": "Item", "title": "Name", "category": "Group"}
    made = client.post("catalogues", {"source": str(tmp_path / "list.csv"), "columns": columns, "rules": RULES}).json
    path = f"catalogues/{made['id']}"
    rows = [{"Item": "B", "Name": "New bag"}, {"Item": "D", "Group": "Shoes", "photo": str(tmp_path / "d.png")}]
    rows.append({"Name": "no SKU"})
    answer = client.post(f"{path}/read", {"products": rows, "partial": True, "removed": ["C", "never there"]})
    assert answer.json == {"added": ["D"], "changed": ["B"], "removed": ["C"]}
    found = client.get(f"{path}/products").json["items"]
    assert [(one["sku"], one["title"], one["category"]) for one in found] == [
        ("A", "Red shoe", "Shoes"), ("B", "New bag", ""), ("D", "", "Shoes"),
    ]  # fmt: skip
    assert [one["photo"] for one in found] == ["a.png", "", str(tmp_path / "d.png")]
    assert [one["row"] for one in client.get(f"{path}/problems").json["items"]] == [3]
    assert client.post(f"{path}/read", {"partial": True}).json == {"added": [], "changed": [], "removed": []}
    said(client.post(f"{path}/read", {"products": rows, "removed": ["A"]}), 422, "set partial to true")
    assert client.get(path).json["products"] == 3


def test_channels_say_what_has_to_be_answered(client):
    found = {one["name"]: one for one in client.get("channels?market=CN").json["items"]}
    assert found["amazon-main"]["visible_mark"] == "forbidden" and found["amazon-main"]["answers"]
    assert found["amazon-main"]["source"] and found["social-square"]["question"] is None
    assert all(one["question"] is None for one in client.get("channels").json["items"])


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


def test_columns_that_were_given_once_count_for_the_next_list_with_the_same_headers(client, tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("Ref,Was es ist\nA,Red shoe\n", encoding="utf-8")
    second.write_text("Was es ist,Ref\nBag,B\n", encoding="utf-8")
    said(client.post("catalogues", {"source": str(second)}), 422, "no column is the SKU")
    columns = {"sku": "Ref", "title": "Was es ist"}
    client.post("catalogues", {"source": str(first), "columns": columns})
    path = f"catalogues/{client.post('catalogues', {'source': str(second)}).json['id']}"
    assert [(one["sku"], one["title"]) for one in client.get(f"{path}/products").json["items"]] == [("B", "Bag")]
    rows = [{"Ref": "C", "Was es ist": "Lamp"}]
    assert client.post("catalogues/check", {"products": rows}).json["products"] == 1
