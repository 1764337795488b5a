"""Everyone can use the studio: axe-core finds nothing grave on any screen, light and dark, on a phone and on a desk."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

from . import models, shop
from .page import axe, browser, packages, shop_catalogue
from .page.contact_sheet import ContactSheet
from .test_serve import server
from .test_studio import make, open_at

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A page, and a model with images, one of them excluded, and two jobs that wait."""
    try:
        packages.folder()
    except packages.Unreachable as error:
        pytest.skip(f"axe-core is not here and cannot be fetched: {error}")
    folder = tmp_path_factory.mktemp("axe")
    images = shop.write_images(folder / "images", side=64)
    checkpoint = models.write_checkpoint(folder / "tiny.safetensors", "sd1")
    with server(folder / "data", "--base-model", str(checkpoint), "--no-worker") as (_, client):
        model = make(client, "han", images, trigger_word="mybrnd", config={"resolution": [64], "lora_rank": 5})
        assert client.post(f"models/{model}/images/exclude", {"images": ["01.png"]}).status == 200
        for kind in ("check", "caption"):
            assert client.post(f"models/{model}/{kind}", {}).status == 201
        shelf = made_catalogue(client, folder / "data")
        with sync_playwright() as engine, browser.opened(engine, f"http://127.0.0.1:{client.port}/?lang=en") as page:
            yield page, model, shelf


def made_catalogue(client, data):
    """A catalogue with images to choose from, one product that failed and one that no rule fits."""
    rows = [{"sku": f"V-{number}", "title": f"Vase {number}", "category": "Vases"} for number in range(3)]
    rules = {"rules": [{"when": {"category": "Vases"}, "loras": []}]}
    values = {
        "name": "autumn",
        "products": [*rows, {"sku": "L-1", "category": "Lamps"}],
        "rules": rules,
        "market": "CN",
    }
    answer = client.post("catalogues", {**values, "channels": ["amazon-main", "shopify"], "candidates": 3})
    assert answer.status == 201, answer.json
    shop_catalogue.draw(data, answer.json["id"], failing=["V-2"])
    for number, verdict in ((1, "approved"), (2, "rejected")):
        path = f"catalogues/{answer.json['id']}/products/1/candidates/{number}/decisions"
        assert client.post(path, {"verdict": verdict, "comment": "too dark"}).status == 201
    return answer.json["id"]


def shown_models(page, model):
    # The screen before may have left a dialog.
    page.keyboard.press("Escape")
    open_at(page, "models")
    expect(page.get_by_role("link", name=re.compile("han"))).to_be_visible(timeout=60_000)


def shown_new_model(page, model):
    shown_models(page, model)
    page.get_by_role("button", name="New model").click()
    page.get_by_label("Name", exact=True).fill("con")
    page.get_by_role("button", name="Create model").click()
    expect(page.get_by_role("dialog").get_by_role("alert").first).to_be_visible(timeout=20_000)


def shown_images(page, model):
    open_at(page, "model", model)
    expect(page.locator(".tile")).to_have_count(6, timeout=60_000)


def shown_image(page, model):
    shown_images(page, model)
    page.get_by_role("button", name="Open: 00.png").click()
    expect(page.get_by_role("dialog", name="00.png")).to_be_visible()


def shown_captions(page, model):
    open_at(page, "model", model, "captions")
    expect(page.get_by_label("Caption of 00.png")).to_be_visible(timeout=60_000)


def shown_train(page, model):
    open_at(page, "model", model, "train")
    page.get_by_text("All settings").click(timeout=60_000)
    expect(page.get_by_label("LoRA rank (size)")).to_be_visible(timeout=20_000)


def shown_compare(page, model):
    ContactSheet(["a teapot", "a boat"], drawn=16).answer(page)
    # From elsewhere: nothing is chosen then.
    shown_models(page, model)
    open_at(page, "model", model, "compare")
    page.get_by_role("button", name="Epoch 1 at 0.8").click(timeout=60_000)
    expect(page.get_by_role("button", name="Publish this one")).to_be_visible(timeout=20_000)


def shown_two_images(page, model):
    shown_compare(page, model)
    page.get_by_role("button", name="The end at 1.0").click()
    page.get_by_role("button", name="Enlarge").click()
    expect(page.get_by_role("dialog").get_by_role("slider")).to_be_visible()


def shown_blind(page, model):
    ContactSheet(["a teapot"]).answer(page)
    shown_models(page, model)
    open_at(page, "model", model, "compare", "1", "blind")
    page.get_by_role("button", name="Image 3", exact=True).click(timeout=60_000)


def shown_merge(page, model):
    shown_models(page, model)
    page.get_by_role("button", name="Merge…").click()
    expect(page.get_by_role("dialog").get_by_label("LoRA 2", exact=True)).to_be_visible(timeout=20_000)


def shown_import(page, model):
    shown_models(page, model)
    page.get_by_role("button", name="Import…").click()
    expect(page.get_by_role("dialog").get_by_label("Tags")).to_be_visible(timeout=20_000)


def shown_queue(page, model):
    open_at(page, "queue")
    expect(page.get_by_role("row")).to_have_count(3, timeout=60_000)


def shown_settings(page, model):
    open_at(page, "settings")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible(timeout=20_000)


def shown_catalogues(page, catalogue):
    shown_models(page, "")
    open_at(page, "catalogues")
    expect(page.get_by_role("link", name=re.compile("autumn")).first).to_be_visible(timeout=60_000)


def shown_new_catalogue(page, catalogue):
    shown_catalogues(page, catalogue)
    page.get_by_role("button", name="New catalogue").click()
    expect(page.get_by_role("dialog").get_by_label("Name", exact=True)).to_be_visible()


def shown_catalogue_products(page, catalogue):
    shown_models(page, "")
    open_at(page, "catalogues", catalogue, "products")
    expect(page.get_by_role("radio").first).to_be_visible(timeout=20_000)
    expect(page.get_by_text("1 product has no look yet")).to_be_visible(timeout=20_000)


def shown_catalogue_words(page, catalogue):
    shown_catalogue_products(page, catalogue)
    words = page.get_by_label("Words and prompts")
    for kind, add in (("Glossary", "Add a term"), ("Prompt templates", "Add a template")):
        if not words.get_by_role("button", name=add).is_visible():
            words.get_by_text(kind, exact=True).click()
        words.get_by_role("button", name=add).click(timeout=20_000)
    words.get_by_role("combobox", name="Scene, Template 1").select_option("own")
    page.get_by_role("button", name="+ own prompt").first.click()
    expect(words.get_by_label("Scene, Template 1, own words")).to_be_visible(timeout=20_000)


def shown_catalogue_edit(page, catalogue):
    shown_catalogue_products(page, catalogue)
    page.get_by_role("button", name="Edit…").click()
    page.get_by_role("button", name="Delete this catalogue…").click(timeout=20_000)
    expect(page.get_by_role("button", name="Delete it")).to_be_visible()


def shown_catalogue_copy(page, catalogue):
    shown_catalogue_choosing(page, catalogue)
    page.get_by_role("button", name=re.compile("^Write a title and selling points")).first.click()
    expect(page.get_by_label("Title for the shop")).to_be_visible()


def shown_catalogue_choosing(page, catalogue):
    shown_models(page, "")
    open_at(page, "catalogues", catalogue, "choose")
    page.get_by_role("button", name="all 4").click(timeout=60_000)
    page.get_by_role("button", name="What was said").click(timeout=20_000)
    page.get_by_role("button", name=re.compile("^Edit the prompt: Vase 1")).click(timeout=20_000)


def shown_catalogue_image(page, catalogue):
    shown_catalogue_choosing(page, catalogue)
    page.get_by_role("button", name=re.compile("^Large")).click()
    expect(page.get_by_role("dialog")).to_be_visible()


def shown_catalogue_crop(page, catalogue):
    shown_catalogue_image(page, catalogue)
    page.get_by_role("dialog").get_by_role("button", name=re.compile("^Crop")).click()


def shown_catalogue_handover(page, catalogue):
    page.keyboard.press("Escape")
    open_at(page, "catalogues", catalogue, "handover")
    expect(page.get_by_label("Train on the chosen ones")).to_be_visible(timeout=60_000)


def shown_comparison(page, catalogue):
    shown_models(page, "")
    open_at(page, "comparison")
    left = page.get_by_label("Left product", exact=True)
    left.get_by_label("What is it?").select_option("catalogue", timeout=60_000)
    expect(left.get_by_role("combobox", name="Catalogue", exact=True)).to_be_visible()


SCREENS = (
    shown_models, shown_new_model, shown_images, shown_image, shown_captions, shown_train, shown_queue, shown_settings,
    shown_compare, shown_two_images, shown_blind, shown_merge, shown_import,
    shown_catalogues, shown_new_catalogue, shown_catalogue_products, shown_catalogue_choosing, shown_catalogue_image,
    shown_catalogue_crop, shown_catalogue_handover, shown_comparison, shown_catalogue_words, shown_catalogue_edit,
    shown_catalogue_copy,
)  # fmt: skip


@pytest.mark.parametrize("screen", SCREENS, ids=lambda one: one.__name__.removeprefix("shown_"))
def test_axe_finds_nothing_grave(studio, screen):
    page, model, shelf = studio
    found = []
    screen(page, shelf if "catalogue" in screen.__name__ else model)
    for theme in ("light", "dark"):
        for width in (390, 1400):
            page.set_viewport_size({"width": width, "height": 1000})
            page.emulate_media(color_scheme=theme)
            found += [f"{theme}, {width} pixels wide: {violation}" for violation in axe.serious(page)]
    assert found == []
