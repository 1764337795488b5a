"""The studio in Chromium, over the API of a server of its own."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

from . import models, shop
from .page import browser
from .test_serve import ROOT, server

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
FOLDER = ROOT / "lora_scripts_ext" / "studio"
HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that runs no jobs, its client, and a folder with images."""
    folder = tmp_path_factory.mktemp("studio")
    images = shop.write_images(folder / "images", side=64)
    checkpoint = models.write_checkpoint(folder / "tiny.safetensors", "sd1")
    with server(folder / "data", "--base-model", str(checkpoint), "--no-worker") as (_, client):
        yield client, images


@pytest.fixture
def page(served):
    client, _ = served
    with sync_playwright() as engine, browser.opened(engine, f"http://127.0.0.1:{client.port}/?lang=en") as shown:
        shown.wrong = []
        shown.on("pageerror", lambda error: shown.wrong.append(str(error)))
        expect(shown.get_by_role("heading", name="Models")).to_be_visible(timeout=60_000)
        yield shown
        assert shown.wrong == []
        assert shown.evaluate("window.hacked") is None


def open_at(page, *parts):
    base = page.url.partition("#")[0]
    page.goto(f"{base}#/{'/'.join(parts)}")


def test_three_questions_make_a_model_whose_images_captions_and_settings_are_kept(page, served):
    client, images = served
    page.get_by_role("button", name="New model").click()
    page.get_by_label("A car").check()
    page.get_by_label("Name", exact=True).fill("han")
    page.get_by_label("Name", exact=True).blur()
    expect(page.get_by_label("Trigger word", exact=True)).not_to_have_value("", timeout=60_000)
    page.get_by_role("button", name="Create model").click()
    expect(page.get_by_role("heading", name="han")).to_be_visible(timeout=20_000)
    page.locator(".drop input").set_input_files([*sorted(map(str, images.glob("*.png"))), str(images / "metadata.csv")])
    expect(page.locator(".tile")).to_have_count(6, timeout=60_000)
    page.get_by_role("button", name="Exclude: 03.png").click()
    expect(page.get_by_role("button", name="Include again: 03.png")).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="Captions", exact=True).click()
    expect(page.locator(".caption")).to_have_count(5, timeout=20_000)
    caption = page.get_by_label("Caption of 00.png")
    caption.fill(f"a phone, {HOSTILE}")
    caption.blur()
    expect(page.get_by_role("button", name=re.compile("<img src=x"))).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_text("All settings").click()
    page.get_by_label("LoRA rank").fill("0")
    page.get_by_label("LoRA rank").blur()
    expect(page.get_by_text("This must lie between 1 and 1024.")).to_be_visible()
    page.get_by_label("LoRA rank").fill("5")
    page.get_by_label("LoRA rank").blur()
    expect(page.get_by_text("1 changed")).to_be_visible(timeout=20_000)
    page.reload()
    expect(page.get_by_text("1 changed")).to_be_visible(timeout=60_000)
    (model,) = client.get("models").json["items"]
    assert (model["kind"], model["config"]) == ("car", {"lora_rank": 5})


def test_a_name_that_cannot_be_used_is_said_under_its_field(page):
    page.get_by_role("button", name="New model").click()
    page.get_by_label("Name", exact=True).fill("con")
    page.get_by_role("button", name="Create model").click()
    error = page.locator(".field.wrong", has_text="Name").get_by_role("alert")
    expect(error).to_contain_text("con", timeout=20_000)
    expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")


def test_the_queue_is_ordered_paused_and_cleared_and_no_name_becomes_html(page, served):
    client, images = served
    names = ["first", "second", HOSTILE.replace("/", "")]
    for name in names:
        config = {"train_data_dir": str(images), "output_name": f"run{names.index(name)}"}
        assert client.post("jobs", {"config": config, "name": name}).status == 201
    open_at(page, "queue")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3, timeout=20_000)
    page.get_by_role("button", name="Move up: second").click()
    expect(rows.first).to_contain_text("second", timeout=20_000)
    expect(rows.nth(2)).to_contain_text("<img src=x")
    page.get_by_role("button", name="Pause after this one").click()
    expect(page.get_by_role("status")).to_have_text("The queue is paused.", timeout=20_000)
    page.get_by_role("button", name="Remove: second").click()
    expect(page.get_by_role("button", name="Forget: second")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="队列")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="队列")).to_be_visible(timeout=60_000)


def test_a_server_that_does_not_answer_is_shown_as_such(page):
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=20_000)
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_have_count(0, timeout=20_000)


def test_nothing_is_loaded_from_elsewhere(served):
    client, _ = served
    answer = client.send("GET", "/lora-trainer/studio/")
    assert answer.status == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.send("GET", "/lora-trainer/studio/../api/app.py").status == 404
    own = [path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts]
    assert not [path for path in own if re.search(r"https?://", path.read_text(encoding="utf-8"))]
    assert sum(path.stat().st_size for path in own) < 150_000


def test_every_word_is_there_in_both_languages():
    words = (FOLDER / "words.js").read_text(encoding="utf-8")
    known = set(re.findall(r'^    "([\w.]+)": \[', words, re.MULTILINE))
    used = set()
    for path in FOLDER.rglob("*.js"):
        if "vendor" not in path.parts:
            used |= set(re.findall(r'\bt\("([\w.]+)"', path.read_text(encoding="utf-8")))
    assert used - known == set()


def test_vendored_files_are_the_ones_that_are_named():
    import hashlib

    table = (FOLDER / "vendor" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.-]+)` \|.*`([0-9a-f]{64})` \|$", table, re.MULTILINE))
    files = {path.name for path in (FOLDER / "vendor").iterdir() if path.suffix in (".js", ".css")}
    assert set(rows) == files
    for name, digest in rows.items():
        assert hashlib.sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() == digest, name
