"""Handing over: what is approved, once, with a manifest that says everything, and nothing lost that was there."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext import marks
from lora_scripts_ext.catalogue import candidates, decisions
from lora_scripts_ext.catalogue.candidates import Drawn
from lora_scripts_ext.catalogue.export import export
from lora_scripts_ext.catalogue.product import Plan
from lora_scripts_ext.catalogue.settings import Settings
from lora_scripts_ext.catalogue.store import Catalogue, Planned
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.marks import c2pa
from lora_scripts_ext.models.weights import sha256
from lora_scripts_ext.products.product import Product

FACTS = {
    "prompt": "a shoe", "negative": "blurry", "width": 64, "height": 64, "steps": 2, "cfg_scale": 7.0,
    "sampler": "Euler", "base_model": {"name": "tiny", "sha256": "ab"},
    "loras": [{"name": "brand", "version": 2, "sha256": "cd", "weight": 0.8}],
    "source": "trainedAlgorithmicMedia", "producer": "ACME", "parameters": "a shoe\nSteps: 2",
}  # fmt: skip
CHANNEL = """\
title: Test
source: none
date: 2026-11
size: {exact: [48, 48]}
format: JPEG
visible_mark: %s
role: %s
position: 1
"""


@pytest.fixture
def catalogue(tmp_path):
    made = Catalogue.create(tmp_path / "shop", Settings(name="summer", write_parameters=True))
    rows = [
        Planned(Product(sku, title, row=2), Plan("p", rule="r", alt={"en": title}))
        for sku, title in (("A", "A red shoe"), ("红/1", "红鞋"))
    ]
    made.update(rows, [])
    candidates.request(made, 2)
    rng = np.random.default_rng(0)
    for product in made.page().products:
        notes = []
        for one in candidates.of_product(made, product.id):
            path = made.images / f"{one.id}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
            notes.append(Drawn(one, path.name, sha256([path]), {**FACTS, "produce_id": f"id{one.id}"}))
        candidates.note_drawn(made, notes)
    yield made
    made.close()


@pytest.fixture
def channel(tmp_path):
    def written(name, visible_mark="allowed", role="secondary"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(CHANNEL % (visible_mark, role), encoding="utf-8")
        return str(path)

    return written


def decide(catalogue, sku, number, verdict="approved", **more):
    return decisions.decide(catalogue, catalogue.by_sku(sku).id, number, verdict, **more)


def read(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["images"]


def files(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def test_what_is_approved_is_finished_and_the_manifest_says_all_of_it(catalogue, channel, tmp_path):
    out = tmp_path / "out"
    decide(catalogue, "A", 2, who="Li")
    decide(catalogue, "A", 1, crop=(0.25, 0.0, 1.0, 0.75))
    done = export(catalogue, out, [channel("page"), channel("front", role="main")])
    assert (done.images, done.written, done.withdrawn, done.refused) == (3, 3, 0, [])
    images = read(out)
    assert [(one["channel"], one["role"], one["position"], one["candidate"]) for one in images] == [
        ("page", "secondary", 1, 2), ("page", "secondary", 2, 1), ("front", "main", 1, 2),
    ]  # fmt: skip
    first = images[0]
    path = out / first["file"]
    assert first["file"] == "A/page-002.jpg" and first["sha256"] == sha256([path])
    assert (first["width"], first["height"], first["bytes"]) == (48, 48, path.stat().st_size)
    assert (first["sku"], first["alt"], first["prompt"], first["negative"]) == (
        "A",
        {"en": "A red shoe"},
        "a shoe",
        "blurry",
    )
    assert first["seed"] == candidates.get(catalogue, catalogue.by_sku("A").id, 2).seed
    assert first["base_model"] == FACTS["base_model"] and first["loras"] == FACTS["loras"]
    assert first["approval"]["by"] == "Li" and first["approval"]["at"].endswith("Z")
    found = marks.read(path)
    assert (found.sources, found.labels, found.parameters) == (("trainedAlgorithmicMedia",), 1, "a shoe\nSteps: 2")
    assert found.aigc["ProduceID"] == first["label"]["produce_id"] == "id2"
    table = (out / "manifest.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))
    assert [row["file"] for row in rows] == [one["file"] for one in images]
    assert (rows[0]["alt_en"], rows[0]["approval_by"], rows[0]["loras"]) == (
        "A red shoe",
        "Li",
        "brand version 2 at 0.8 (cd)",
    )


def test_a_channel_on_white_gets_the_drawn_product_cut_out_and_no_scene(catalogue, channel, tmp_path):
    white = Path(channel("white"))
    white.write_text(f"{white.read_text(encoding='utf-8')}background: white\n", encoding="utf-8")
    drawn = candidates.of_product(catalogue, catalogue.by_sku("A").id)[0]
    image = Image.new("RGB", (64, 64), (244, 244, 244))
    image.paste((200, 30, 30), (20, 10, 44, 54))
    image.save(drawn.path(catalogue))
    for sku in ("A", "红/1"):
        decide(catalogue, sku, 1)
    done = export(catalogue, tmp_path / "out", [str(white)])
    assert [one["sku"] for one in read(tmp_path / "out")] == ["A"]
    (refused,) = done.refused
    assert refused.startswith("红/1: mask: white wants a white background")
    with Image.open(tmp_path / "out" / "A" / "white-001.jpg") as finished:
        assert finished.getpixel((0, 0)) == (255, 255, 255) and finished.getpixel((24, 24))[0] > 180


def test_the_same_decisions_write_nothing_twice(catalogue, channel, tmp_path):
    out, page = tmp_path / "out", channel("page")
    decide(catalogue, "A", 1)
    decide(catalogue, "红/1", 2)
    export(catalogue, out, [page])
    before = files(out)
    done = export(catalogue, out, [page])
    assert (done.images, done.written, files(out)) == (2, 0, before)
    other = tmp_path / "other"
    export(catalogue, other, [page])
    assert {name: content for name, (content, _) in files(other).items()} == {
        name: content for name, (content, _) in before.items()
    }
    # One that somebody has changed or deleted is made again.
    name = read(out)[0]["file"]
    (out / name).write_bytes(b"x")
    assert export(catalogue, out, [page]).written == 1 and files(out)[name][0] == before[name][0]


def test_what_is_not_approved_any_more_is_put_aside(catalogue, channel, tmp_path):
    out, page = tmp_path / "out", channel("page")
    decide(catalogue, "A", 1)
    decide(catalogue, "红/1", 1)
    export(catalogue, out, [page])
    before = files(out)
    decide(catalogue, "A", 1, "rejected")
    done = export(catalogue, out, [page])
    assert (done.images, done.withdrawn) == (1, 1)
    assert [one["sku"] for one in read(out)] == ["红/1"]
    assert (out / "withdrawn/A/page-001.jpg").read_bytes() == before["A/page-001.jpg"][0]
    assert not (out / "A").exists()
    # Again approved and again not: nothing that is there is overwritten.
    for verdict in ("approved", "rejected"):
        decide(catalogue, "A", 1, verdict)
        export(catalogue, out, [page])
    assert sorted(path.name for path in (out / "withdrawn/A").iterdir()) == ["page-001-2.jpg", "page-001.jpg"]
    # A product that is no longer in the list is taken back, too.
    catalogue.update([Planned(Product("A"), Plan("p", rule="r"))], [])
    assert export(catalogue, out, [page]).images == 0 and read(out) == []


def test_without_a_decision_the_first_that_is_not_rejected(catalogue, channel, tmp_path):
    page = channel("page")
    decide(catalogue, "A", 1, "rejected")
    assert export(catalogue, tmp_path / "out", [page]).images == 0
    export(catalogue, tmp_path / "out", [page], undecided=True)
    assert [(one["candidate"], one["approval"]) for one in read(tmp_path / "out")] == [(2, None), (1, None)]


def test_folders_of_skus_are_valid_and_no_two_are_the_same(catalogue, channel, tmp_path):
    skus = ["a/b", "a_b", "A_B", "con", "withdrawn", "../x", "红", ".hidden"]
    catalogue.update([Planned(Product(sku), Plan("p", rule="r")) for sku in skus], [])
    source = candidates.of_product(catalogue, 1)[0]
    candidates.request(catalogue, 1)
    for product in catalogue.page().products:
        one = candidates.of_product(catalogue, product.id)[0]
        candidates.note_drawn(catalogue, [Drawn(one, source.file, source.sha256, {**FACTS, "produce_id": "x"})])
        decide(catalogue, product.sku, 1)
    out = tmp_path / "out"
    export(catalogue, out, [channel("page")])
    folders = {one["sku"]: one["file"].split("/")[0] for one in read(out)}
    assert folders["红"] == "红" and folders["a_b"] == "a_b"
    assert len({name.casefold() for name in folders.values()}) == len(skus)
    assert all((out / name).parent == out and name != "withdrawn" for name in folders.values())


def test_where_law_and_channel_collide_the_user_is_asked_once(catalogue, channel, tmp_path):
    settings = catalogue.settings()
    decide(catalogue, "A", 1)
    forbidden, plain = channel("white", "forbidden"), channel("page")
    catalogue.write_settings(Settings(**{**vars(settings), "market": "CN"}))
    with pytest.raises(UserError, match=r"GB 45438-2025 wants a visible mark.*Set visible_mark to one of them"):
        export(catalogue, tmp_path / "ask", [forbidden])
    found = {}
    for answer in ("with", "without", "leave out"):
        catalogue.write_settings(Settings(**{**vars(settings), "market": "CN", "visible_mark": answer}))
        export(catalogue, tmp_path / answer, [forbidden, plain])
        found[answer] = {
            one["channel"]: (tmp_path / answer / one["file"]).read_bytes() for one in read(tmp_path / answer)
        }
    assert list(found["leave out"]) == ["page"] and len({one["page"] for one in found.values()}) == 1
    assert found["with"]["white"] != found["without"]["white"]


def test_what_cannot_be_finished_stops_nothing_else(catalogue, channel, tmp_path):
    decide(catalogue, "A", 1)
    decide(catalogue, "红/1", 1)
    candidates.get(catalogue, catalogue.by_sku("A").id, 1).path(catalogue).write_bytes(b"no image")
    done = export(catalogue, tmp_path / "out", [channel("page")])
    assert done.images == 1 and "A: " in done.refused[0] and "cannot be read" in done.refused[0]
    for channels, says in (([], "channels: there is none"), (["nothing"], "there is none of this name")):
        with pytest.raises(UserError, match=says):
            export(catalogue, tmp_path / "out", channels)
    (tmp_path / "out/manifest.json").write_text("{")
    with pytest.raises(UserError, match="this manifest cannot be read"):
        export(catalogue, tmp_path / "out", [channel("page")])


def test_the_operators_credentials_sign_every_image_once(catalogue, channel, tmp_path, monkeypatch):
    """With a double of the package: what c2pa-python itself signs is read back in test_marks_c2pa.py."""
    for name in ("chain", "renewed", "key"):
        (tmp_path / f"{name}.pem").write_text(name, encoding="utf-8")
    monkeypatch.setattr(c2pa, "check", lambda credentials: None)
    monkeypatch.setattr(
        c2pa, "signed", lambda content, mime, source, credentials: content + credentials.certificate.read_bytes()
    )
    out, page = tmp_path / "out", [channel("page")]
    decide(catalogue, "A", 1)
    assert export(catalogue, out, page).written == 1
    credentials = c2pa.Credentials(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert export(catalogue, out, page, credentials=credentials).written == 1
    assert (out / "A" / "page-001.jpg").read_bytes().endswith(b"chain")
    assert export(catalogue, out, page, credentials=credentials).written == 0
    renewed = c2pa.Credentials(tmp_path / "renewed.pem", tmp_path / "key.pem")
    assert export(catalogue, out, page, credentials=renewed).written == 1
    assert (out / "A" / "page-001.jpg").read_bytes().endswith(b"renewed")


def test_without_the_package_nothing_is_exported_unsigned(catalogue, channel, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    decide(catalogue, "A", 1)
    credentials = c2pa.Credentials(tmp_path / "chain.pem", tmp_path / "key.pem")
    with pytest.raises(UserError, match=r"Content Credentials need c2pa-python; install it with pip install"):
        export(catalogue, tmp_path / "out", [channel("page")], credentials=credentials)
    assert not (tmp_path / "out").exists()
