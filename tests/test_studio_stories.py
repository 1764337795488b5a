"""The three stories of the examples, each from its first file to its last through the page alone, on a server that
trains and draws with the pocket model."""

import csv
import json
import re
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import expect
from safetensors.torch import load_file, save_file

from examples import photos, run
from lora_scripts_ext import marks

from .page import browser
from .test_examples import holds
from .test_serve import ROOT, server
from .test_studio import open_at, step, studio

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
COMPOSITE, DRAWN = "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"
#: a job starts a process, which takes a moment on a machine that does something else, too
JOB = 120_000
LITTLE = "max_steps: 1\nepochs: 1\nvalidation_share: 0\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with the pocket model: its client, its data folder, and a folder for shops."""
    place = tmp_path_factory.mktemp("stories")
    with server(place / "data", "--base-model", str(run.MODEL)) as (_, client):
        yield SimpleNamespace(client=client, data=place / "data", place=place)


@pytest.fixture
def page(served):
    with studio(served.client) as shown:
        yield shown


@pytest.fixture(scope="module")
def looks(served):
    """Two LoRAs, made once: ``lumora`` is trained on the page, ``argilla`` imported from where it lies already."""
    with studio(served.client) as page:
        page.get_by_role("button", name="New model").click()
        page.get_by_label("Name", exact=True).fill("lumora")
        page.get_by_role("button", name="Create model").click()
        images = sorted((ROOT / "pocket" / "brand").glob("[a-c]*.png"))
        page.get_by_label("Choose files").set_input_files([str(path) for path in images[:6]])
        expect(page.locator(".tile")).to_have_count(6, timeout=60_000)
        step(page, "Train")
        page.get_by_text("All settings").click()
        page.get_by_role("button", name="YAML").click()
        page.get_by_label("YAML", exact=True).and_(page.locator("textarea")).fill(settings())
        page.get_by_role("button", name="Use these settings").click()
        expect(page.get_by_text("The model has these settings now.")).to_be_visible(timeout=20_000)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Start now").click()
        expect(page.get_by_text("The LoRA is ready:")).to_be_visible(timeout=JOB)
        expect(page.get_by_role("link", name="Draw products with it")).to_be_visible()
        (trained,) = served.data.glob("models/*/runs/1/lumora.safetensors")
        other = {name: -tensor for name, tensor in load_file(trained).items()}
        (served.place / "loras").mkdir()
        save_file(other, served.place / "loras" / "argilla.safetensors")
        open_at(page, "models")
        page.get_by_role("button", name="Import…").click()
        dialog = page.get_by_role("dialog")
        dialog.locator("#folder").fill(str(served.place / "loras"))
        dialog.get_by_role("button", name="Import", exact=True).click()
        expect(page.locator("tbody tr", has_text="loras").get_by_text("done")).to_be_visible(timeout=JOB)


def settings():
    """The demo's, without what is the model's own, for as short a training as can be."""
    text = (ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8")
    own = ("train_data_dir", "base_model", "output_dir", "output_name", "epochs")
    return "\n".join(line for line in text.splitlines() if not line.startswith(own)) + f"\n{LITTLE}"


def shop(story, served):
    """The folder of the story's files, with few products."""
    return run.Shop(story, served.place / story, served.place, quick=True).folder


def new_catalogue(page, name, sent):
    """A catalogue of the files that are dropped, at its first step; returns its id."""
    page.get_by_role("link", name="Catalogue").click()
    page.get_by_role("button", name="New catalogue").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create catalogue").click()
    page.get_by_label("Choose files").set_input_files([str(path) for path in sent])
    expect(page.get_by_label("Which look for which products")).to_be_visible(timeout=60_000)
    return re.search("catalogues/([0-9a-f]+)", page.url)[1]


def write(field, text):
    field.fill(str(text))
    field.blur()


def add_rule(page, number, conditions, loras=(), prompt=""):
    """A rule, as a person would write it."""
    rules = page.get_by_label("Which look for which products")
    rules.get_by_role("button", name="A rule for some products").click()
    rule = rules.get_by_role("group", name=re.compile(f"^Rule {number}"))
    for place, (column, values) in enumerate(conditions):
        if place:
            rule.get_by_role("button", name="+ condition").click()
        rule.get_by_label(re.compile("^Column")).nth(place).select_option(column)
        write(rule.get_by_label(re.compile("^Values")).nth(place), values)
    for place, (name, weight) in enumerate(loras):
        if place:
            rule.get_by_role("button", name="+ second LoRA").click()
        write(rule.get_by_label("LoRA").nth(place), name)
        write(rule.get_by_label("Strength").nth(place), weight)
    if prompt:
        rule.get_by_role("button", name="+ own prompt").click()
        write(rule.get_by_label(re.compile("^and the prompt")), prompt)


def choose_channels(page, names, market):
    channels = page.get_by_label("Channels to make images for")
    for name in names:
        channels.get_by_label(re.compile(name)).check()
    channels.get_by_label("Shown in").select_option(market)
    return channels


def draw(page, candidates, images, keep=False):
    """Set what is drawn, draw, and wait for all of it."""
    card = page.get_by_label("Draw", exact=True)
    write(card.get_by_label("Images of each product"), candidates)
    if keep:
        card.get_by_label(re.compile("Keep the real product")).check()
    card.get_by_text("More settings").click()
    for name, value in (("Steps", 1), ("CFG scale", 4), ("Who makes the images", "Example-Shop")):
        write(card.get_by_label(name), value)
    card.get_by_role("button", name=f"Draw {images} images").click(timeout=20_000)
    # Who watches stays where he is.
    expect(card.get_by_role("button", name="All images are drawn")).to_be_visible(timeout=JOB)
    card.get_by_role("link", name="Next: choose").click()
    expect(page.locator("article.product").first).to_be_visible(timeout=20_000)


def hand_over(page, served, id):
    """Hand over; the entries of the manifest by SKU and channel, each with its file there."""
    page.get_by_role("button", name="Hand over", exact=True).click()
    done = page.get_by_label("Handed over")
    expect(done).to_be_visible(timeout=JOB)
    folder = served.data / "catalogues" / id / "finished"
    expect(done).to_contain_text(str(folder))
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["images"]
    expect(done.locator("img")).to_have_count(len(entries), timeout=20_000)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.grid img')].every((one) => one.naturalWidth > 0)", timeout=20_000
    )
    assert all(marks.read(folder / one["file"]).sources == (one["label"]["source"],) for one in entries)
    return {(one["sku"], one["channel"]): one for one in entries}


def test_a_fashion_brand(page, served, looks):
    folder = shop("fashion", served)
    photos.write("t-shirt", folder / "photos" / "t-shirt.png")
    id = new_catalogue(page, "Aurora", [folder / "products.csv", folder / "photos" / "t-shirt.png"])
    # The photo was sent by its own name, and the list says photos/t-shirt.png.
    problems = page.get_by_label("Rows that cannot be used")
    expect(problems).to_contain_text("1 row cannot be used", timeout=20_000)
    expect(problems).to_contain_text("Row 4: This row has no SKU")
    add_rule(page, 1, [("tags", "实拍")], [("lumora", 1)], "pink background")
    add_rule(page, 2, [("category", "男装*; 女装*; 鞋*; 箱包*; 配饰*")], [("lumora", 1)])
    rules = page.get_by_label("Which look for which products")
    expect(rules).to_contain_text("1 product has no look yet", timeout=20_000)
    expect(rules).to_contain_text("M-301")
    words = page.get_by_label("Words and prompts")
    words.get_by_text("Glossary", exact=True).click()
    words.get_by_role("button", name=re.compile("曙光")).click()
    page.keyboard.type("Aurora")
    page.keyboard.press("Tab")
    words.get_by_text("Prompt templates", exact=True).click()
    words.get_by_label("Load templates (YAML)…").set_input_files(str(folder / "templates.yaml"))
    expect(words.get_by_role("combobox", name="Scene, Template 1")).to_have_value("none", timeout=20_000)
    expect(rules).to_contain_text("M-201 gets the prompt: Aurora dress", timeout=20_000)
    channels = choose_channels(page, ("Amazon, main image", "Taobao, main image", "Shopify"), "CN")
    channels.get_by_role("radio", name=re.compile("Without a visible mark")).check(timeout=20_000)
    draw(page, 2, 4, keep=True)
    page.get_by_label("Your name").fill("Li")
    page.get_by_label("Your name").blur()
    for _ in range(2):
        page.keyboard.press("1")
        expect(page.locator("article.product.current")).to_contain_text("approved", timeout=20_000)
        page.keyboard.press("Enter")
    page.get_by_role("link", name="Next: hand over").click()
    images = hand_over(page, served, id)
    # As the command line makes them; without a photo there is nothing to put on white.
    three = ("amazon-main", "taobao-main", "shopify")
    assert set(images) == {("M-101", one) for one in three} | {("M-201", one) for one in three[1:]}
    expect(page.get_by_label("Handed over")).to_contain_text("M-201: mask: amazon-main wants a white background")
    assert {one["approval"]["by"] for one in images.values()} == {"Li"}
    assert {sku: images[sku, "shopify"]["prompt"] for sku in ("M-101", "M-201")} == {
        "M-101": "pink background",
        "M-201": "Aurora dress",
    }
    assert {one["label"]["producer"] for one in images.values()} == {"Example-Shop"}
    sources = {sku: images[sku, "taobao-main"]["label"]["source"] for sku in ("M-101", "M-201")}
    assert sources == {"M-101": COMPOSITE, "M-201": DRAWN}
    photo = images["M-101", "amazon-main"]
    assert photo["seed"] is None and photo["width"] >= 1600


def test_a_marketplace_of_used_phones_and_how_its_catalogue_is_let_go(page, served, looks):
    folder = shop("phones", served)
    id = new_catalogue(page, "Campaigns", [folder / "products.json"])
    things = ("category", "phones; cameras; watches")
    add_rule(page, 1, [things, ("tags", "glass")], [("lumora", 1)])
    add_rule(page, 2, [things, ("tags", "mixed")], [("lumora", 0.5), ("argilla", 0.5)])
    words = page.get_by_label("Words and prompts")
    for kind, label in (("Glossary", "Load a glossary (YAML, CSV)…"), ("Prompt templates", "Load templates (YAML)…")):
        words.get_by_text(kind, exact=True).click()
        name = "glossary.yaml" if kind == "Glossary" else "templates.yaml"
        words.get_by_label(label).set_input_files(str(folder / name))
    expect(page.get_by_label("Which look for which products")).to_contain_text(
        "P-01-mixed gets the prompt: used phone", timeout=20_000
    )
    choose_channels(page, ("Social networks, square",), "CN")
    draw(page, 1, 2)
    page.get_by_role("navigation", name="Campaigns").get_by_role("link", name="Hand over").click()
    page.get_by_label("Also the first image of the 2").check(timeout=20_000)
    images = hand_over(page, served, id)
    assert set(images) == {("P-01-glass", "social-square"), ("P-01-mixed", "social-square")}
    assert all(one["prompt"] == "used phone" and one["approval"] is None for one in images.values())
    mixed = [(one["name"], one["weight"]) for one in images["P-01-mixed", "social-square"]["loras"]]
    assert mixed == [("lumora", 0.5), ("argilla", 0.5)]
    page.get_by_role("button", name="Edit…").click()
    page.get_by_role("button", name="Delete this catalogue…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("button", name="New catalogue")).to_be_visible(timeout=20_000)
    assert served.client.get(f"catalogues/{id}").status == 404
    # What was handed over stays.
    assert (served.data / "catalogues" / id / "finished" / "manifest.json").is_file()


def test_a_car_dealer(page, served, looks):
    folder = shop("cars", served)
    page.get_by_role("link", name="Catalogue").click()
    page.get_by_role("link", name="Compare two products").click()
    left, right = (page.get_by_label(f"{side} product", exact=True) for side in ("Left", "Right"))
    for side, prompt, name, lora, weight in (
        (left, "a car", "Comet 3", "lumora", 1),
        (right, "a van", "Hauler 9", "argilla", 0.8),
    ):
        side.get_by_label("What is drawn").fill(prompt, timeout=60_000)
        side.get_by_label("Name on the card").fill(name)
        side.get_by_label("LoRA", exact=True).fill(lora)
        side.get_by_label("Strength", exact=True).fill(str(weight))
    rows = paste(page, folder / "specs.csv")
    page.get_by_label("Strengths to try").fill("1")
    page.get_by_text("More settings").click()
    for label, value in (("Steps", "1"), ("CFG scale", "4"), ("Seed", "1"), ("Who makes the images", "Example-Dealer")):
        page.get_by_label(label).fill(value)
    config, out = compared(page, served, "Comet 3 / Hauler 9")
    assert {path.name for path in out.glob("*.png")} >= {"card.png", "left.png", "right.png", "both-1.png"}
    assert config["specs"] == rows and config["producer"] == "Example-Dealer"
    assert marks.read(out / "card.png").sources == (DRAWN,)
    # Another visit finds it as it was asked for.
    page.reload()
    expect(left.get_by_label("Name on the card")).to_have_value("Comet 3", timeout=60_000)
    expect(right.get_by_label("Strength", exact=True)).to_have_value("0.8")
    photos.write("car", folder / "photos" / "car.png")
    left.get_by_label("What is it?").select_option("photo")
    left.get_by_label("Photo", exact=True).set_input_files(str(folder / "photos" / "car.png"))
    expect(left.get_by_role("status")).to_have_text("car.png is there.", timeout=20_000)
    left.get_by_label("Name on the card").fill("我的车")
    right.get_by_label("Name on the card").fill("新车")
    right.get_by_label("LoRA", exact=True).fill("lumora")
    for _ in rows[1:]:
        page.get_by_role("button", name="Remove row 2").click()
    rows = paste(page, folder / "my-car.csv")
    config, out = compared(page, served, "我的车 / 新车")
    assert config["specs"] == rows
    with Image.open(folder / "photos" / "car.png") as photo, Image.open(out / "card.png") as card:
        assert holds(card.convert("RGB"), photo.convert("RGB"))


def paste(page, path):
    """Paste the rows of a list of specifications, as they come from a spreadsheet; returns them."""
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
    page.get_by_label("What 1").evaluate(
        """(field, text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text", text);
            field.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
        }""",
        "\n".join("\t".join(row) for row in rows),
    )
    return rows


def compared(page, served, name):
    """Draw, and wait for the card; the job's config and the folder of its images."""
    page.get_by_role("button", name=re.compile("^Draw")).click()
    result = page.get_by_label(name, exact=True)
    expect(result.get_by_alt_text("The card")).to_be_visible(timeout=JOB)
    page.wait_for_function("() => document.querySelector('img.compared').naturalWidth > 0", timeout=20_000)
    id = page.url.rpartition("/")[2]
    return served.client.get(f"jobs/{id}").json["config"], served.data / "jobs" / id / "comparison"
