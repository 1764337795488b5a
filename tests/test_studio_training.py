"""A training in the studio, from its images to its LoRA, on a server that runs jobs."""

import re
import time

import pytest
from playwright.sync_api import expect
from safetensors.torch import load_file

from . import models, shop
from .page import browser
from .test_serve import server
from .test_studio import make, open_at, studio

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
CONFIG = {
    "resolution": [32], "bucket_step": 16, "gradient_checkpointing": False, "lora_rank": 4, "epochs": 2,
    "preview_epochs": 1, "preview_steps": 2, "save_epochs": 1, "batch_size": 2, "gradient_accumulation_steps": 1,
    "learning_rate": 0.01, "num_repeats": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that runs jobs, its client, and a folder with images."""
    folder = tmp_path_factory.mktemp("studio")
    images = shop.write_images(folder / "images", side=64)
    checkpoint = models.write_checkpoint(folder / "tiny.safetensors", "sd1")
    with server(folder / "data", "--base-model", str(checkpoint)) as (_, client):
        yield client, images


@pytest.fixture
def page(served):
    with studio(served[0]) as shown:
        yield shown


def ended(client, job):
    """The job once it does not change any more."""
    while (found := client.get(f"jobs/{job}").json)["state"] in ("queued", "starting", "running", "stopping"):
        time.sleep(0.2)
    return found


def test_images_are_checked_trained_on_and_the_lora_is_there(page, served):
    client, images = served
    # A resolution that images can be checked for.
    config = CONFIG | {"resolution": [64], "bucket_step": 32}
    model = make(client, "brand", images, trigger_word="brnd", config=config)
    open_at(page, "model", model)
    page.get_by_role("button", name="Check the images").click(timeout=60_000)
    expect(page.get_by_role("button", name=re.compile("^not checked"))).to_have_count(0, timeout=120_000)
    open_at(page, "model", model, "train")
    expect(page.get_by_text(re.compile(r"^about \d"))).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Start now").click()
    card = page.get_by_label("Training", exact=True)
    expect(card.get_by_text("The LoRA is ready:")).to_be_visible(timeout=240_000)
    expect(card).to_contain_text("brnd <lora:brand:0.8>")
    # The previews of before the training, and of both epochs.
    slider = card.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuetext", "after epoch 2")
    slider.fill("0")
    expect(slider).to_have_attribute("aria-valuetext", "before training")
    expect(card.locator(".previews img").first).to_be_visible()
    card.get_by_text("Log", exact=True).click()
    expect(card.get_by_label("Log")).to_contain_text(
        re.compile("queued.*starting.*running.*done", re.DOTALL), timeout=20_000
    )
    page.reload()
    expect(card.get_by_text("The LoRA is ready:")).to_be_visible(timeout=60_000)
    expect(card.locator("canvas")).to_be_visible()
    expect(page.get_by_role("link", name="version 1")).to_be_visible()


def test_stopped_reloaded_and_resumed_it_ends_as_if_it_had_never_stopped(page, served):
    client, images = served
    config = CONFIG | {"epochs": 14, "preview_epochs": 0}
    whole = make(client, "whole", images, config=config)
    reference = ended(client, client.post(f"models/{whole}/train").json["id"])["result"]["lora"]
    model = make(client, "halves", images, config=config)
    open_at(page, "model", model, "train")
    page.get_by_role("button", name="Start now").click(timeout=60_000)
    card = page.get_by_label("Training", exact=True)
    expect(card.get_by_text(re.compile(r"^[1-9]\d* of 42$"))).to_be_visible(timeout=120_000)
    card.get_by_role("button", name="Stop and save").click()
    expect(card.get_by_text("What was trained so far is saved:")).to_be_visible(timeout=60_000)
    page.reload()
    expect(card.get_by_text(re.compile("Resume continues at step"))).to_be_visible(timeout=60_000)
    # Whatever the page says by now: the run goes on with the settings it was started with.
    client.send("PATCH", f"models/{model}", {"config": config | {"learning_rate": 0.5}})
    card.get_by_role("button", name="Resume").click()
    expect(card.get_by_text("The LoRA is ready:")).to_be_visible(timeout=240_000)
    (job,) = client.get(f"jobs?model={model}").json["items"]
    assert job["attempt"] == 2
    ours, theirs = load_file(job["result"]["lora"]), load_file(reference)
    assert ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in theirs)


def test_a_training_that_fails_says_why_and_with_the_setting_corrected_it_runs(page, served, tmp_path):
    client, images = served
    config = CONFIG | {"preview_epochs": 0}
    model = make(client, "broken", images, config=config | {"init_lora": str(tmp_path / "none.safetensors")})
    open_at(page, "model", model, "train")
    start = page.get_by_role("button", name="Start now")
    start.click(timeout=60_000)
    card = page.get_by_label("Training", exact=True)
    expect(card.locator(".error")).to_contain_text("none.safetensors", timeout=120_000)
    page.get_by_text("All settings").click()
    setting = page.get_by_label("Start from this LoRA")
    setting.fill("")
    setting.blur()
    expect(page.get_by_text(f"{len(config)} changed")).to_be_visible(timeout=20_000)
    card.get_by_role("button", name="Retry with the settings below").click()
    expect(card.get_by_text("The LoRA is ready:")).to_be_visible(timeout=240_000)
    (job,) = client.get(f"jobs?model={model}").json["items"]
    assert (job["state"], job["attempt"]) == ("done", 2)


def test_a_lora_of_the_same_name_is_not_replaced_without_a_question(page, served):
    client, images = served
    model = make(client, "mine", images, config=CONFIG | {"preview_epochs": 0})

    def in_a_webui(route):
        # Only a WebUI has a folder for the LoRAs of all.
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "in_the_way": "/webui/models/Lora/mine.safetensors"})

    page.route(f"**/models/{model}", in_a_webui)
    open_at(page, "model", model, "train")
    page.get_by_role("button", name="Start now").click(timeout=60_000)
    dialog = page.get_by_role("dialog", name="There is a LoRA of this name already")
    expect(dialog).to_contain_text("mine.safetensors")
    dialog.get_by_role("button", name="Cancel").click()
    assert client.get(f"jobs?model={model}").json["items"] == []
    page.get_by_role("button", name="Start now").click()
    dialog.get_by_role("button", name="Train, and rename the other one").click()
    expect(page.get_by_text("The LoRA is ready:")).to_be_visible(timeout=240_000)


def test_a_contact_sheet_is_drawn_and_one_of_its_images_is_approved_and_published(page, served):
    client, images = served
    model = make(client, "sheet", images, trigger_word="sht", config=CONFIG | {"preview_epochs": 0})
    assert ended(client, client.post(f"models/{model}/train").json["id"])["state"] == "done"
    open_at(page, "model", model, "compare")
    page.get_by_role("button", name="With my own prompts…").click(timeout=60_000)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Prompts, one a line").fill("sht, a boat")
    dialog.get_by_label("Strengths").fill("0.8")
    dialog.get_by_role("button", name="Draw the contact sheet").click()
    cell = page.get_by_role("button", name=re.compile("^The end at 0.8"))
    expect(page.get_by_role("link", name="Download the sheet")).to_be_visible(timeout=240_000)
    page.reload()
    cell.click(timeout=60_000)
    choice = page.get_by_label("The chosen image")
    choice.get_by_text("Parameters").click()
    expect(choice).to_contain_text("sht, a boat")
    page.get_by_label("Your name").fill("Anna")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_label("Review", exact=True).locator(".said")).to_contain_text("Anna", timeout=20_000)
    choice.get_by_role("button", name="Publish this one").click()
    expect(choice.get_by_role("status")).to_contain_text("sheet.safetensors", timeout=60_000)
    (version,) = client.get(f"models/{model}/versions").json["items"]
    assert (version["published_as"]["strength"], version["published_as"]["by"]) == (0.8, "Anna")
    assert version["review"]["state"] == "approved"
    open_at(page, "models")
    expect(page.get_by_role("link", name=re.compile("sheet"))).to_contain_text("approved", timeout=20_000)
