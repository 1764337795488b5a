"""Photos, templates and glossaries that are sent over HTTP along with a product list."""

import io
import stat
import zipfile

import pytest
from PIL import Image

pytest.importorskip("fastapi")

from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.library.database import Database

from . import api
from .catalogues import RULES, made, said

LIST = "sku,title,category,photo\nA,Shoe,Shoes,photos/a.png\nB,Bag,Bags,C:\\shop\\b.png\nC,Cap,Caps,c/front.png\n"


@pytest.fixture
def client(tmp_path, checkpoint):
    data = tmp_path / "data"
    with api.serving(Service(Database(data), Standalone(data, str(checkpoint)))) as client:
        yield client


def photo(colour="teal"):
    content = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(content, "PNG")
    return content.getvalue()


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def sent(client, id, name, body):
    return client.send("PUT", f"catalogues/{id}/photos/{name}", body=body)


def problems(client, id):
    client.post(f"catalogues/{id}/read")
    return [one["row"] for one in client.get(f"catalogues/{id}/problems").json["items"]]


def test_photos_are_found_where_the_list_names_them_whatever_folder_they_were_sent_in(client, tmp_path):
    id = client.post("catalogues", {"rules": RULES}).json["id"]
    client.send("PUT", f"catalogues/{id}/list/list.csv", body=LIST.encode())
    assert problems(client, id) == [2, 3, 4]
    answer = sent(client, id, "a.png", photo())
    assert (answer.status, answer.json["photos"], answer.json["skipped"]) == (200, ["a.png"], [])
    assert problems(client, id) == [3, 4]
    body = zipped({"shop/c/front.png": photo("red"), "shop/d/front.png": photo(), "shop/b.png": photo()})
    assert sent(client, id, "shop.zip", body).json["photos"] == ["shop/c/front.png", "shop/d/front.png", "shop/b.png"]
    assert problems(client, id) == []
    folder = tmp_path / "data" / "catalogues" / id / "list"
    assert (folder / "c" / "front.png").read_bytes() == photo("red")
    # What is sent again takes the place of what was there, also where the list looks for it.
    sent(client, id, "photos/a.png", photo("blue"))
    assert (folder / "photos" / "a.png").read_bytes() == photo("blue")
    client.send("PUT", f"catalogues/{id}/list/list.csv", body=LIST.replace("c/front.png", "x/front.png").encode())
    assert problems(client, id) == [4], "two photos have the name"


def test_photos_without_a_list_are_a_product_each(client):
    id = client.post("catalogues", {"rules": RULES}).json["id"]
    folder = sent(client, id, "shoes/A-1.png", photo()).json["folder"]
    changed = client.send("PATCH", f"catalogues/{id}", {"source": folder})
    assert changed.json["products"] == 1
    (product,) = client.get(f"catalogues/{id}/products").json["items"]
    assert (product["sku"], product["category"]) == ("A-1", "shoes")


def test_nothing_gets_out_of_the_folder_and_what_is_no_photo_is_named(client, tmp_path):
    id = client.post("catalogues", {"rules": RULES}).json["id"]
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    body = zipped(
        {"../out.png": photo(), "/root.png": photo(), link: b"/etc/passwd", "list.csv": LIST, "in.png": photo()}
    )
    answer = sent(client, id, "some.zip", body).json
    assert answer["photos"] == ["in.png"]
    assert {one["name"]: one["reason"] for one in answer["skipped"]} == {
        "../out.png": "has a path that leads out of the folder",
        "/root.png": "has a path that leads out of the folder",
        "link.png": "is a link",
        "list.csv": "is no photo; a product list is sent by itself",
    }
    for name in ("..%2F..%2Fout.png", "%2Fetc%2Fout.png", "a%2F..%2F..%2Fout.png"):
        assert sent(client, id, name, photo()).status in (404, 422), name
    said(sent(client, id, "list.csv", b"sku\n1\n"), 422, "is no photo")
    said(sent(client, id, "a.exe", b"MZ" + bytes(100)), 422, "is no image")
    said(sent(client, id, "a.zip", b"no zip"), 422, "this is not a zip file that can be read")
    said(sent(client, id, "bomb.zip", bomb()), 422, "there is no image in it that can be taken")
    assert not list(tmp_path.rglob("out.png"))
    kept = {path.name for path in (tmp_path / "data" / "catalogues" / id / "list").rglob("*")}
    assert kept == {"in.png"}


def bomb():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(64 << 20))
    return content.getvalue()


def test_a_list_that_lies_on_the_server_has_its_photos_there(client, tmp_path):
    (tmp_path / "list.csv").write_text("sku\nA\n")
    id = client.post("catalogues", {"source": str(tmp_path / "list.csv"), "rules": RULES}).json["id"]
    said(sent(client, id, "a.png", photo()), 403, "put its photos there, or send the list")
    assert sent(client, "nothing", "a.png", photo()).status == 404


def test_templates_and_a_glossary_are_sent_shown_and_taken_back(client):
    id = made(client)
    path = f"catalogues/{id}"

    def prompt():
        return client.get(f"{path}/products?limit=1").json["items"][0]["prompt"]

    before = prompt()
    templates = "templates:\n- category: [Shoes]\n  subject: 'THE {name}'\n  scene: ''\n"
    answer = client.send("PUT", f"{path}/templates/mine.yaml", body=templates.encode())
    wanted = [{"category": ["Shoes"], "subject": "THE {name}", "scene": ""}]
    assert (answer.status, answer.json) == (200, {"templates": wanted})
    assert client.get(f"{path}/templates").json == {"templates": wanted}
    assert "THE" in prompt() and prompt() != before
    said(
        client.send("PUT", f"{path}/templates/x.yaml", body=b"templates: [{scene: '{x}'}]"),
        422,
        "templates.yaml: templ",
    )
    said(client.send("PUT", f"{path}/templates/x.yaml", body=b"a: [b"), 422, "x.yaml")
    answer = client.send("PUT", f"{path}/glossary/terms.csv", body="樱粉,cherry pink\n包邮,\n".encode())
    assert answer.json == {"terms": {"樱粉": "cherry pink", "包邮": ""}}
    assert client.get(f"{path}/glossary").json == answer.json
    said(
        client.send("PUT", f"{path}/glossary/terms.csv", body=b"alone\n"),
        422,
        "terms.csv: entry 1 has no second column",
    )
    assert client.get(f"{path}/glossary").json == answer.json
    said(client.send("PUT", f"{path}/glossary/terms.yaml", body=bytes(5 << 20)), 413, "larger than 4 MiB")
    client.send("PATCH", path, {"templates": "", "glossary": ""})
    assert client.get(f"{path}/templates").json == {"templates": []}
    assert client.get(f"{path}/glossary").json == {"terms": {}}
    assert prompt() == before
