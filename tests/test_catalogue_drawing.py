"""Candidates drawn by the standalone host: once each, marked, resumed image by image; what is wrong is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext import marks
from lora_scripts_ext.catalogue import candidates, decisions
from lora_scripts_ext.catalogue.export import export
from lora_scripts_ext.catalogue.generate import Generated, generate
from lora_scripts_ext.catalogue.loras import Found, Loras
from lora_scripts_ext.catalogue.product import Plan
from lora_scripts_ext.catalogue.settings import Settings
from lora_scripts_ext.catalogue.store import Catalogue, Planned
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.jobs import library_loras
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.keeping import cutout, placing
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.library.publications import Publications
from lora_scripts_ext.models.weights import sha256
from lora_scripts_ext.products.product import Product
from lora_scripts_ext.training import run

from . import shop


@pytest.fixture(scope="module")
def lora(data, checkpoint, tmp_path_factory):
    """A LoRA trained on the tiny checkpoint."""
    folder = tmp_path_factory.mktemp("trained") / "brand"
    run.train(shop.make_config(data, checkpoint, folder, learning_rate=0.05), StandaloneHost())
    return folder / "brand.safetensors"


@pytest.fixture
def shop_folder(tmp_path):
    return tmp_path / "shop"


def made(folder, checkpoint, plans, **settings):
    catalogue = Catalogue.create(
        folder, Settings(base_model=str(checkpoint), width=32, height=32, steps=2, candidates=2, **settings)
    )
    catalogue.update([Planned(Product(sku, row=n), plan) for n, (sku, plan) in enumerate(plans.items(), 2)], [])
    candidates.request(catalogue)
    return catalogue


def drawn(catalogue, loras=(), **options):
    base_model = catalogue.settings().base_model
    return generate(catalogue, lambda: StandaloneHost().drawing(base_model), Loras(loras), **options)


def images(catalogue):
    """Name and content of every file in the folder of the candidates."""
    return {path.name: path.read_bytes() for path in catalogue.images.iterdir()}


def test_every_image_says_how_it_was_made(shop_folder, checkpoint, lora):
    entry = {"file": str(lora), "name": "", "weight": 0.75}
    catalogue = made(
        shop_folder, checkpoint, {"A": Plan("a red shoe", "blurry", "r", (entry,)), "B": Plan("b", rule="r")}
    )
    seen = []
    assert drawn(catalogue, progress=lambda *args: seen.append(args[:2])) == Generated(4, 0)
    assert (seen[0], seen[-1]) == ((0, 4), (4, 4))
    first, second = candidates.of_product(catalogue, catalogue.by_sku("A").id)
    found = marks.read(first.path(catalogue))
    assert found.sources == ("trainedAlgorithmicMedia",) and found.labels == 1
    assert found.aigc["ContentProducer"] == "LoRA-Trainer" and found.aigc["ProduceID"] == first.facts["produce_id"]
    lines = found.parameters.splitlines()
    assert lines[:2] == ["a red shoe <lora:brand:0.75>", "Negative prompt: blurry"]
    assert f"Seed: {first.seed}, Size: 32x32, Model hash: {sha256([checkpoint])[:10]}, Model: tiny" in lines[2]
    assert first.facts["loras"] == [
        {"name": "brand", "file": "brand.safetensors", "version": None, "sha256": sha256([lora]), "weight": 0.75}
    ]
    assert first.sha256 == sha256([first.path(catalogue)]) != second.sha256
    assert first.facts["produce_id"] != second.facts["produce_id"]
    with Image.open(first.path(catalogue)) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")
    # The LoRA of one product is not that of the next.
    assert catalogue.by_sku("B").state == catalogue.by_sku("A").state == "drawn"
    assert drawn(catalogue) == Generated(0, 0)


def test_what_is_wrong_with_one_product_is_said_and_the_others_go_on(shop_folder, checkpoint, tmp_path):
    missing = {"file": "", "name": "gone", "weight": 1.0}
    plans = {
        "A": Plan("a", rule="r", loras=(missing,)), "B": Plan("a naked shoe", rule="r"), "C": Plan("c", rule="r"),
        "D": Plan("d"),
    }  # fmt: skip
    words = tmp_path / "words.yaml"
    words.write_text("forbidden: [naked]\n")
    catalogue = made(shop_folder, checkpoint, plans, words=str(words))
    assert drawn(catalogue, [shop_folder]) == Generated(2, 4)
    states = {one.sku: one.state for one in catalogue.page().products}
    assert states == {"A": "failed", "B": "failed", "C": "drawn", "D": "unmatched"}
    error = candidates.of_product(catalogue, catalogue.by_sku("A").id)[0].error
    assert "LoRA gone" in error and str(shop_folder) in error
    assert candidates.of_product(catalogue, catalogue.by_sku("B").id)[1].error.startswith(
        "B: its prompt has the forbidden"
    )
    # Put right, it is drawn.
    catalogue.edit(catalogue.by_sku("A").id, {"loras": []})
    assert candidates.request(catalogue) == 4 and drawn(catalogue, [shop_folder]) == Generated(2, 2)


def test_stopped_between_two_products_it_goes_on_with_the_next(shop_folder, checkpoint):
    catalogue = made(shop_folder, checkpoint, {sku: Plan(sku, rule="r") for sku in "ABC"})

    class Enough(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise Enough

    with pytest.raises(Enough):
        drawn(catalogue, check=check)
    before = images(catalogue)
    assert len(before) == 2 and candidates.counts(catalogue)["waiting"] == 4
    assert drawn(catalogue) == Generated(4, 0)
    assert {name: images(catalogue)[name] for name in before} == before


def test_more_and_changed_candidates_leave_those_that_are_there(shop_folder, checkpoint):
    catalogue = made(shop_folder, checkpoint, {"A": Plan("a shoe", rule="r")})
    drawn(catalogue)
    before = images(catalogue)
    product = catalogue.by_sku("A")
    catalogue.edit(product.id, {"prompt": "a red shoe"})
    candidates.add(catalogue, product.id)
    assert drawn(catalogue) == Generated(1, 0)
    third = candidates.get(catalogue, product.id, 3)
    assert third.facts["prompt"] == "a red shoe"
    assert {**before, third.file: third.path(catalogue).read_bytes()} == images(catalogue)


def test_one_process_at_a_time_draws_for_a_catalogue(shop_folder, checkpoint):
    catalogue = made(shop_folder, checkpoint, {"A": Plan("a", rule="r")})
    said = []

    def check():
        with pytest.raises(UserError, match="is being written by another run") as error:
            drawn(catalogue)
        said.append(str(error.value))

    assert drawn(catalogue, check=check) == Generated(2, 0) and said


def test_a_lora_is_found_by_file_by_name_and_in_the_library(tmp_path, lora):
    (tmp_path / "season.safetensors").write_bytes(lora.read_bytes())
    loras = Loras([tmp_path], lambda name: Found(lora, "Winter", 3) if name == "winter" else None)
    found = loras.find({"file": "", "name": "winter", "weight": 0.5})
    assert (found.file, found.name, found.version, found.weight) == (lora, "Winter", 3, 0.5)
    # What its card says, as the library has no word for it.
    assert loras.trigger({"name": "winter"}) == loras.trigger({"file": str(lora)}) == "brnd"
    assert loras.trigger({"name": "nothing"}) == ""
    for wanted in ({"name": "season"}, {"file": "season.safetensors"}, {"file": str(tmp_path / "season.safetensors")}):
        assert loras.find(wanted).file == tmp_path / "season.safetensors"

    def refused(path):
        if Path(path).name == "season.safetensors":
            raise UserError("not yours")
        return Path(path)

    with pytest.raises(UserError, match="not yours"):
        Loras([tmp_path], readable=refused).find({"file": str(tmp_path / "season.safetensors")})
    for wanted in ({"name": "nothing"}, {"file": "nothing.safetensors"}, {"file": str(tmp_path / "n.safetensors")}):
        with pytest.raises(UserError, match=r"LoRA .*name another"):
            loras.find(wanted)


@pytest.fixture
def kept(shop_folder, checkpoint, tmp_path):
    """A catalogue of one product, whose photo is kept, with a drawn candidate."""
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 200, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 20:44] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    catalogue = Catalogue.create(
        shop_folder,
        Settings(width=32, height=32, steps=2, candidates=1, keep_product=True, folder=str(tmp_path),
                 base_model=str(checkpoint)),
    )  # fmt: skip
    catalogue.update([Planned(Product("A", photo="photo.png", mask="mask.png"), Plan("a beach", rule="r"))], [])
    candidates.request(catalogue)
    assert drawn(catalogue) == Generated(1, 0)
    return catalogue


def test_a_product_is_kept_and_its_cut_out_is_what_stands_on_white(kept, tmp_path):
    product = kept.by_sku("A")
    one = candidates.of_product(kept, product.id)[0]
    assert marks.read(one.path(kept)).sources == ("compositeWithTrainedAlgorithmicMedia",)
    placed = placing.place(cutout.cut_out(tmp_path / "photo.png", tmp_path / "mask.png"), 32, 32)
    with Image.open(one.path(kept)) as image:
        inside = np.asarray(placed.mask) > 0
        assert (np.asarray(image)[inside] == np.asarray(placed.pixels)[inside]).all() and inside.sum() > 200
    decisions.decide(kept, product.id, 1, "approved", who="Li")
    done = export(kept, tmp_path / "out", ["amazon-main", "amazon-secondary"])
    assert done.refused == []
    main, scene = json.loads((tmp_path / "out/manifest.json").read_text())["images"]
    assert (main["file"], main["seed"], main["approval"]["by"]) == ("A/amazon-main-photo.jpg", None, "Li")
    assert (scene["candidate"], scene["label"]["source"]) == (1, "compositeWithTrainedAlgorithmicMedia")
    with Image.open(tmp_path / "out" / main["file"]) as image:
        assert image.getpixel((0, 0)) == (255, 255, 255)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    assert export(kept, tmp_path / "out", ["amazon-main", "amazon-secondary"]).written == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Another photo is another candidate.
    Image.new("RGB", (64, 64), "green").save(tmp_path / "photo.png")
    candidates.add(kept, product.id)
    drawn(kept)
    assert export(kept, tmp_path / "out", ["amazon-main"]).written == 1


def test_in_a_larger_image_a_kept_product_has_the_detail_of_its_photo(kept, tmp_path):
    channel = tmp_path / "large.yaml"
    keys = "role: secondary, size: {exact: [64, 64]}, format: PNG, visible_mark: allowed, position: 1"
    channel.write_text(f"{{title: L, source: none, date: 2026-11, {keys}}}")
    decisions.decide(kept, kept.by_sku("A").id, 1, "approved")
    placed = placing.place(cutout.cut_out(tmp_path / "photo.png", tmp_path / "mask.png"), 64, 64)
    inside = np.asarray(placed.mask) > 0
    assert export(kept, tmp_path / "out", [str(channel)]).refused == []
    with Image.open(tmp_path / "out/A/large-001.png") as image:
        assert np.array_equal(np.asarray(image)[inside], np.asarray(placed.pixels)[inside])
    # The photo of this candidate is not there any more.
    Image.new("RGB", (64, 64), "green").save(tmp_path / "photo.png")
    assert export(kept, tmp_path / "out", [str(channel)]).written == 1
    with Image.open(tmp_path / "out/A/large-001.png") as image:
        assert not np.array_equal(np.asarray(image)[inside], np.asarray(placed.pixels)[inside])


def test_what_this_host_cannot_do_is_said(shop_folder, checkpoint, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "pose.png")
    catalogue = made(shop_folder, checkpoint, {"A": Plan("a", rule="r", control=str(tmp_path / "pose.png"))})
    assert drawn(catalogue) == Generated(0, 2)
    assert "no ControlNet" in candidates.of_product(catalogue, 1)[0].error
    catalogue.update([Planned(Product("A"), Plan("a", rule="r", control=str(tmp_path / "none.png")))], [])
    candidates.request(catalogue)
    assert drawn(catalogue) == Generated(0, 2)
    assert "none.png: this image cannot be read" in candidates.of_product(catalogue, 1)[0].error


def test_the_library_says_which_version_counts_and_what_activates_it(tmp_path):
    for name in ("one", "two", "published"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    database = Database(tmp_path / "data")
    models = Models(database)
    model = models.create("House style", kind="brand_style", trigger_word="hsstl")
    versions = [
        models.add_version(model.id, tmp_path / f"{name}.safetensors", "import", facts={}) for name in ("one", "two")
    ]
    found = library_loras.loras(Standalone(tmp_path / "data"), Settings())
    wanted = {"file": "", "name": "House style", "weight": 0.5}
    newest = found.find(wanted)
    assert (newest.file.name, newest.name, newest.version, newest.sha256) == (
        "two.safetensors", "House style", 2, sha256([tmp_path / "two.safetensors"]),
    )  # fmt: skip
    assert found.trigger(wanted) == "hsstl"
    # What is published counts before what is newer.
    publications = Publications(database)
    seq = publications.begin(model.id, versions[0].id, str(tmp_path / "one.safetensors"), 1.0, "Li")
    publications.finish(seq, str(tmp_path / "published.safetensors"))
    assert (found.find(wanted).file.name, found.find(wanted).version) == ("published.safetensors", 1)
    with pytest.raises(UserError, match="the library has no model"):
        found.find({**wanted, "name": "house"})
    database.close()
