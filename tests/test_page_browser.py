"""The tab in headless Chromium, under the very gradios that the WebUIs ship, as its user drives it."""

import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.images import excluded

from . import captioners, shop
from .page import browser
from .page.served import GRADIOS, ROOT, serving
from .photos import photo

pytestmark = [
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="the WebUIs' packages are for Python 3.10 and 3.11"),
    pytest.mark.skipif(not browser.here(), reason="there is no chromium on this machine, and none to be had for it"),
]
# What the WebUI's own script gives to those of its extensions.
WEBUI = """
window.gradioApp = () => document.querySelector("gradio-app")?.shadowRoot ?? document;
window.onUiLoaded = (call) => call();
"""


@pytest.fixture(scope="module", params=GRADIOS)
def served(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with serving(request.param, folder) as port:
        yield f"http://127.0.0.1:{port}", folder


@pytest.fixture
def page(served):
    url, _ = served
    with sync_playwright() as engine, browser.opened(engine, url) as shown:
        shown.mistakes = []
        shown.on("pageerror", lambda error: shown.mistakes.append(str(error)))
        expect(shown.locator("#lt_start")).to_be_visible(timeout=60_000)
        # As the WebUI injects an extension's files.
        shown.add_style_tag(path=ROOT / "style.css")
        shown.add_script_tag(content=WEBUI)
        shown.add_script_tag(path=ROOT / "javascript" / "lora_trainer.js")
        yield shown
        assert shown.mistakes == []


def fill(page, folder, **changes):
    """Fill the form from YAML, as an engineer would."""
    settings = shop.settings(folder / "images", folder / "tiny.safetensors", folder / "out", **changes)
    page.get_by_text("YAML", exact=True).first.click()
    page.locator("#lt_yaml textarea").fill(yaml.safe_dump(settings))
    page.locator("#lt_import").click()
    expect(page.locator("#lt_message").last).to_contain_text("The form holds the file's settings.", timeout=20_000)


def test_a_first_visitor_sees_what_to_do(page):
    expect(page.locator("#lt_side").first).to_contain_text("Nothing is being trained.")
    for part in ("#lt_train_data_dir", "#lt_output_name", "#lt_kind", "#lt_look", "#lt_start"):
        expect(page.locator(part).first).to_be_visible()
    # Everything else is folded away.
    expect(page.locator("#lt_learning_rate").first).not_to_be_visible()


def test_a_mistake_is_shown_beside_the_button(page):
    page.locator("#lt_start").click()
    expect(page.locator("#lt_message").last).to_contain_text("train_data_dir is missing", timeout=20_000)


def test_images_are_checked_a_lora_is_trained_and_a_reload_keeps_the_report(page, served):
    url, folder = served
    fill(page, folder, output_name="seen", preview_epochs=1, preview_steps=1)
    page.locator("#lt_look").click()
    expect(page.locator(".lt_gallery figure")).to_have_count(6, timeout=60_000)
    first = page.locator(".lt_gallery img").first
    first.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=first.element_handle())
    page.locator("#lt_start").click()
    expect(page.locator("#lt_live").first).to_contain_text("seen is done", timeout=120_000)
    assert (folder / "Lora" / "seen.safetensors").is_file()
    expect(page.locator("#lt_live img").first).to_be_visible()
    page.goto(url)
    expect(page.locator("#lt_start")).to_be_visible(timeout=60_000)
    page.add_script_tag(content=WEBUI)
    page.add_script_tag(path=ROOT / "javascript" / "lora_trainer.js")
    expect(page.locator("#lt_live").first).to_contain_text("seen is done", timeout=30_000)


def test_a_notice_is_shown_once_and_as_text_on_the_pages_that_are_open(page, served):
    report = {"status": "idle", "notice": None}
    page.route("**/lora-trainer/report", lambda route: route.fulfill(json=report))

    def polled() -> None:
        for _ in range(2):
            with page.expect_response("**/lora-trainer/report", timeout=20_000):
                pass

    polled()
    report["notice"] = {"text": "<b>Later</b>", "time": 5.0}
    notice = page.locator(".lt_notice[role=alert]")
    expect(notice).to_contain_text("<b>Later</b>", timeout=20_000)
    notice.get_by_role("button", name="Close").click()
    polled()
    expect(notice).to_have_count(0)
    report["notice"] = {"text": "Refused", "time": 6.0}
    expect(notice).to_contain_text("Refused", timeout=20_000)
    url, _ = served
    page.goto(url)
    expect(page.locator("#lt_start")).to_be_visible(timeout=60_000)
    page.add_script_tag(content=WEBUI)
    page.add_script_tag(path=ROOT / "javascript" / "lora_trainer.js")
    polled()
    expect(notice).to_have_count(0)


def test_a_folder_of_images_is_checked_captioned_and_corrected(page, served):
    _, folder = served
    pile = folder / "pile"
    (pile / "cups").mkdir(parents=True)
    for seed in range(4):
        photo(seed).save(pile / "cups" / f"red_cup_0{seed}.jpg", quality=90)
    photo(0).rotate(90).save(pile / "turned.jpg", quality=90)
    page.locator("#lt_train_data_dir textarea").fill(str(pile))
    page.get_by_text("Captions and quality", exact=True).click()
    page.locator("#lt_check").click()
    findings = page.locator("#lt_dataset_said").last
    expect(findings).to_contain_text("5 images: 4 good, 0 doubtful, 1 bad.", timeout=60_000)
    expect(findings).to_contain_text("is a turned copy of cups/red_cup_00.jpg")
    page.wait_for_function("() => [...document.querySelectorAll('.lt_findings img')].some(one => one.naturalWidth > 0)")
    page.locator("#lt_leave").click()
    expect(findings).to_contain_text("1 images are excluded", timeout=60_000)
    assert excluded.read(pile) == {"turned.jpg"}
    page.locator("#lt_captioner input").fill("names")
    page.locator("#lt_captioner input").press("Enter")
    page.locator("#lt_caption").click()
    expect(findings).to_contain_text("5 captions written by names", timeout=60_000)
    page.locator("#lt_filter textarea").fill("cups")
    page.locator("#lt_show").click()
    expect(findings).to_contain_text("4 of 5 images", timeout=20_000)
    expect(page.locator("#lt_table").last).to_contain_text("red cup, cups")
    page.locator("#lt_find textarea").fill("red cup")
    page.locator("#lt_replace textarea").fill("crimson cup")
    page.locator("#lt_exchange").click()
    expect(findings).to_contain_text("4 captions changed in the table", timeout=20_000)
    page.locator("#lt_tag textarea").fill("studio")
    page.locator("#lt_add").click()
    expect(page.locator("#lt_table").last).to_contain_text("crimson cup, cups, studio", timeout=20_000)
    page.locator("#lt_undo").click()
    expect(findings).to_contain_text("The table is as it was before.", timeout=20_000)
    expect(page.locator("#lt_table").last).not_to_contain_text("studio")
    page.locator("#lt_save").click()
    expect(findings).to_contain_text("4 captions saved", timeout=20_000)
    store = CaptionStore.open(pile)
    assert [store.entry(name).prompt for name in store.names] == ["crimson cup, cups"] * 4 + ["turned"]
    assert store.entry("cups/red_cup_00.jpg").edited
    page.locator("#lt_look").click()
    expect(page.locator("#lt_pictures").last).to_contain_text(
        "1 skipped: turned.jpg (is excluded by hand)", timeout=60_000
    )


def test_the_page_shows_the_fields_that_a_captioner_needs_and_no_more(page, served):
    _, folder = served
    photo(1, side=96).save(folder / "images" / "unseen.png")
    page.locator("#lt_train_data_dir textarea").fill(str(folder / "images"))
    page.get_by_text("Captions and quality", exact=True).click()
    message = page.locator("#lt_dataset_said").last
    for name, shown, hidden, sentence in (
        ("clip", "#lt_words", "#lt_endpoint", "chooses among your own words, and is given none"),
        ("endpoint", "#lt_endpoint", "#lt_words", "name the address of the service"),
    ):
        page.locator("#lt_captioner input").fill(name)
        page.locator("#lt_captioner input").press("Enter")
        expect(page.locator(shown).first).to_be_visible(timeout=20_000)
        expect(page.locator(hidden).first).not_to_be_visible()
        page.locator("#lt_caption").click()
        expect(message).to_contain_text(sentence, timeout=60_000)
    page.locator("#lt_captioner input").fill("vit")
    page.locator("#lt_captioner input").press("Enter")
    expect(page.locator("#lt_endpoint").first).not_to_be_visible(timeout=20_000)
    page.locator("#lt_caption").click()
    expect(message).to_contain_text("google/vit-base-patch16-224 is not on this machine", timeout=60_000)


def test_clip_ranks_phrases_typed_on_the_page_which_a_reload_keeps(page, served):
    url, folder = served
    pile, model = folder / "words", folder / "clip"
    if not model.exists():
        captioners.write_clip(model)
    pile.mkdir()
    photo(2, side=96).save(pile / "IMG_0001.png")
    page.locator("#lt_train_data_dir textarea").fill(str(pile))
    page.get_by_text("Captions and quality", exact=True).click()
    page.locator("#lt_captioner input").fill("clip")
    page.locator("#lt_captioner input").press("Enter")
    page.locator("#lt_caption_model textarea").fill(str(model))
    page.locator("#lt_words textarea").fill("[subject]\na matte cup\n[scene]\non a table")
    page.locator("#lt_template textarea").fill("{scene}, {subject}")
    page.locator("#lt_caption").click()
    expect(page.locator("#lt_dataset_said").last).to_contain_text("1 captions written by clip", timeout=60_000)
    assert CaptionStore.open(pile).entry("IMG_0001.png").prompt == "on a table, a matte cup"
    page.goto(url)
    page.get_by_text("Captions and quality", exact=True).click(timeout=60_000)
    page.locator("#lt_captioner input").fill("clip")
    page.locator("#lt_captioner input").press("Enter")
    expect(page.locator("#lt_words textarea")).to_have_value("[subject]\na matte cup\n[scene]\non a table")


def test_five_thousand_images_are_no_more_for_the_page_than_a_few_hundred(page, served):
    _, folder = served
    many = folder / "many"
    many.mkdir()
    photo(5, side=128).save(folder / "one.jpg", quality=90)
    content = (folder / "one.jpg").read_bytes()
    for index in range(5000):
        # What follows a JPEG's end is not read; so each file is another one.
        (many / f"red_cup_{index:04d}.jpg").write_bytes(content + index.to_bytes(2, "little"))
    fill(page, folder, train_data_dir=str(many))
    page.locator("#lt_look").click()
    expect(page.locator("#lt_pictures").last).to_contain_text("5000 images", timeout=120_000)
    assert page.locator(".lt_gallery img").count() == 60
    page.get_by_text("Captions and quality", exact=True).click()
    page.locator("#lt_captioner input").fill("names")
    page.locator("#lt_captioner input").press("Enter")
    page.locator("#lt_caption").click()
    message = page.locator("#lt_dataset_said").last
    expect(message).to_contain_text("5000 captions written by names", timeout=120_000)
    page.locator("#lt_show").click()
    expect(message).to_contain_text("5000 of 5000 images. The first 200 are shown", timeout=60_000)
    page.locator("#lt_filter textarea").fill("red_cup_49")
    page.locator("#lt_show").click()
    expect(message).to_contain_text("100 of 5000 images", timeout=60_000)


def test_a_zip_becomes_copies_that_are_ready(page, served):
    _, folder = served
    with zipfile.ZipFile(folder / "photos.zip", "w") as packed:
        for seed in range(3):
            photo(seed).save(folder / "one.jpg", quality=90)
            packed.write(folder / "one.jpg", f"cups/{seed}.jpg")
        packed.writestr("../out.jpg", b"no")
    page.locator("#lt_train_data_dir textarea").fill(str(folder / "photos.zip"))
    page.get_by_text("Captions and quality", exact=True).click()
    page.locator("#lt_rename textarea").fill("brand_{number}")
    page.locator("#lt_ready").click()
    message = page.locator("#lt_dataset_said").last
    expect(message).to_contain_text("3 copies are in", timeout=60_000)
    expect(message).to_contain_text("../out.jpg has a path that leads out of the folder")
    ready = folder / "lora_trainer" / "pictures" / "photos"
    expect(page.locator("#lt_train_data_dir textarea")).to_have_value(str(ready), timeout=20_000)
    # The one folder in the zip is no part of the dataset.
    assert sorted(path.name for path in ready.glob("*.png")) == ["brand_1.png", "brand_2.png", "brand_3.png"]


def test_images_that_are_dropped_on_the_page_are_uploaded(page, served):
    _, folder = served
    for seed in range(2):
        photo(seed, side=96).save(folder / f"drop{seed}.jpg")
    (folder / "drop.exe").write_bytes(b"MZ")
    with zipfile.ZipFile(folder / "drop.zip", "w") as packed:
        packed.write(folder / "drop1.jpg", "inside/drop1.jpg")
    dropped = [str(folder / name) for name in ("drop0.jpg", "drop1.jpg", "drop.exe", "drop.zip")]
    page.locator("#lt_drop input[type=file]").set_input_files(dropped)
    message = page.locator("#lt_pictures").last
    expect(message).to_contain_text("3 files are in", timeout=60_000)
    expect(message).to_contain_text("drop.exe is no image and no caption")
    into = Path(page.locator("#lt_train_data_dir textarea").input_value())
    assert into.parent == folder / "lora_trainer" / "pictures"
    assert sorted(path.relative_to(into).as_posix() for path in into.rglob("*.jpg")) == [
        "drop0.jpg", "drop1.jpg", "inside/drop1.jpg",
    ]  # fmt: skip
