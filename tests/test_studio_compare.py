"""Comparing checkpoints in the studio: the contact sheet, what is decided of it, and what is published."""

import re

import pytest
from playwright.sync_api import expect

from .page import browser
from .page.contact_sheet import REASON, ContactSheet
from .test_serve import server
from .test_studio import HOSTILE, make, open_at, studio

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
PROMPTS = ["brnd, a teapot", f"brnd, {HOSTILE}"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A client of a server with a model, and the model."""
    with server(tmp_path_factory.mktemp("compare"), "--no-worker") as (_, client):
        yield client, make(client, "brand")


@pytest.fixture
def page(served):
    with studio(served[0]) as shown:
        yield shown


def opened(page, served, sheet, *more):
    """The screen with a contact sheet on it."""
    sheet.answer(page)
    open_at(page, "model", served[1], "compare", *more)
    expect(page.locator("button.cell, .missing").first).to_be_visible(timeout=20_000)


def cell(page, name):
    return page.get_by_role("button", name=name, exact=True)


def test_two_images_are_slid_between_and_the_better_one_is_published_and_rolled_back(page, served):
    sheet = ContactSheet(PROMPTS)
    opened(page, served, sheet)
    expect(page.get_by_text(REASON).first).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^Epoch 1"))).to_contain_text("suggested")
    expect(page.locator("button.cell")).to_have_count(10)
    cell(page, "Epoch 1 at 0.8, suggested").focus()
    page.keyboard.press("ArrowRight")
    expect(cell(page, "Epoch 1 at 1.0")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(cell(page, "Epoch 2 at 1.0")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Epoch 2 at 1.0")).to_be_visible()
    cell(page, "Epoch 1 at 0.8, suggested").click()
    pair = page.get_by_label("Two images")
    slider = pair.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    expect(slider).to_have_value("100")
    expect(pair.locator(".over img").nth(1)).to_have_css("clip-path", "inset(0px 0px 0px 100%)")
    box = pair.locator(".over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    expect(slider).to_have_value("25")
    pair.get_by_role("button", name="Enlarge").click()
    dialog = page.get_by_role("dialog", name=PROMPTS[0])
    before = dialog.locator(".over").bounding_box()["width"]
    dialog.get_by_role("button", name="Zoom in").click()
    assert dialog.locator(".over").bounding_box()["width"] == pytest.approx(2 * before, abs=2)
    page.keyboard.press("Escape")
    pair.get_by_role("button", name="B is better").click()
    choice = page.get_by_label("The chosen image")
    expect(choice.get_by_role("heading")).to_have_text(re.compile("^Epoch 1 at 0.8"))
    expect(choice).to_contain_text("0.1250")
    choice.get_by_role("button", name="Publish this one").click()
    expect(choice.get_by_role("status")).to_contain_text("/webui/Lora/brand.safetensors", timeout=20_000)
    path, body = sheet.posted[-1]
    assert (path, body["strength"], body["replace"]) == ("publish", 0.8, False)
    assert body["checkpoint"].endswith("brand-000001.safetensors")
    expect(page.get_by_role("row", name=re.compile("^Epoch 1"))).to_contain_text("in use", timeout=20_000)
    cell(page, "Epoch 1 at 0.8, suggested").click()
    cell(page, "The end at 1.0").click()
    page.get_by_role("button", name="Publish this one").click()
    used = page.get_by_label("In use")
    expect(used).to_contain_text("brand.safetensors · at 1.0", timeout=20_000)
    used.get_by_role("button", name="Roll back…").click()
    expect(used).to_contain_text("brand-000001.safetensors · at 0.8")
    used.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("row", name=re.compile("^Epoch 1"))).to_contain_text("in use", timeout=20_000)
    expect(used.get_by_role("button")).to_have_count(0)


def test_blind_nothing_says_which_image_is_which_until_one_is_chosen_also_after_a_reload(page, served):
    opened(page, served, ContactSheet(PROMPTS))
    page.get_by_role("button", name="Blind").click()
    expect(page.locator(".blind button.cell")).to_have_count(9)
    page.reload()
    expect(page.locator(".blind button.cell")).to_have_count(9, timeout=60_000)
    page.get_by_role("button", name="Image 1", exact=True).click()
    page.get_by_role("button", name="Image 2", exact=True).click()
    said = page.locator("main").inner_html()
    for label in ("Epoch", "The end", "0.8", "suggested", REASON):
        assert label not in said, label
    page.get_by_role("button", name="A is better").click()
    expect(page.get_by_label("The chosen image").get_by_role("heading")).to_have_text(re.compile("^(Epoch|The end)"))
    expect(page.locator(".blind")).to_have_count(0)


def test_people_decide_with_their_names_and_no_comment_becomes_html(page, served):
    sheet = ContactSheet(PROMPTS)
    sheet.suggested["reason"] = HOSTILE
    opened(page, served, sheet)
    page.get_by_label("Prompt", exact=True).select_option(label=PROMPTS[1])
    review = page.get_by_label("Review", exact=True)
    review.get_by_label("Your name").fill(HOSTILE)
    review.get_by_label("Comment").fill(HOSTILE)
    review.get_by_role("button", name="Ask for a review").click()
    expect(review.locator(".said li")).to_have_count(1, timeout=20_000)
    expect(review.locator(".said")).to_contain_text(HOSTILE)
    assert sheet.posted[-1] == ("decisions", {"verdict": "requested", "comment": HOSTILE, "who": HOSTILE})
    cell(page, "Epoch 2 at 0.6").click()
    review.get_by_role("button", name="Approve").click()
    expect(review.get_by_role("heading")).to_contain_text("approved", timeout=20_000)
    expect(review.locator(".said li").first).to_contain_text("Epoch 2 at 0.6")
    assert sheet.posted[-1][1]["strength"] == 0.6
    page.reload()
    expect(review.get_by_label("Your name")).to_have_value(HOSTILE, timeout=60_000)
    sheet.refusals["decisions"] = (403, "forbidden", "This key may only read.", "")
    review.get_by_role("button", name="Reject").click()
    expect(review.get_by_role("alert")).to_have_text("This key may only read.", timeout=20_000)


def test_what_is_in_the_way_is_put_aside_only_after_a_question(page, served):
    sheet = ContactSheet(PROMPTS)
    opened(page, served, sheet)
    cell(page, "Epoch 2 at 0.8").click()
    sheet.refusals["publish"] = (403, "forbidden", "This version is not approved.", "")
    page.get_by_role("button", name="Publish this one").click()
    choice = page.get_by_label("The chosen image")
    expect(choice.get_by_role("alert")).to_have_text("This version is not approved.", timeout=20_000)
    sheet.refusals["publish"] = (409, "conflict", "brand.safetensors is not ours.", "")
    page.get_by_role("button", name="Publish this one").click()
    expect(choice.get_by_role("alert")).to_have_text("brand.safetensors is not ours.", timeout=20_000)
    assert sheet.publications == []
    choice.get_by_role("button", name="Put that file aside, and publish").click()
    expect(choice.get_by_role("status")).to_be_visible(timeout=20_000)
    assert [body["replace"] for path, body in sheet.posted if path == "publish"] == [False, False, True]


def test_other_prompts_are_drawn_and_seen_to_grow_also_after_a_reload(page, served):
    sheet = ContactSheet(PROMPTS)
    opened(page, served, sheet)
    page.get_by_role("button", name="Other prompts…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Prompts, one a line").fill("brnd, a boat\n\n brnd, a hat ")
    dialog.get_by_label("Epoch 2").uncheck()
    sheet.refusals["review"] = (422, "invalid", "seed: it must be a whole number.", "seed")
    dialog.get_by_label("Seed").fill("1.5")
    dialog.get_by_role("button", name="Draw the contact sheet").click()
    expect(dialog.locator(".field.wrong").get_by_role("alert")).to_contain_text("whole number", timeout=20_000)
    dialog.get_by_label("Seed").fill("7")
    dialog.get_by_role("button", name="Draw the contact sheet").click()
    expect(dialog).to_have_count(0, timeout=20_000)
    _, body = sheet.posted[-1]
    assert (body["prompts"], body["seed"], len(body["checkpoints"])) == (["brnd, a boat", "brnd, a hat"], 7, 2)
    expect(page.get_by_text("0 of 20 images")).to_be_visible(timeout=20_000)
    expect(page.locator(".missing")).not_to_have_count(0)
    sheet.drawn = 4
    expect(page.get_by_text("4 of 20 images")).to_be_visible(timeout=20_000)
    page.reload()
    expect(page.get_by_text("4 of 20 images")).to_be_visible(timeout=60_000)
    expect(page.locator("button.cell")).to_have_count(4)
    sheet.state, sheet.drawn = "done", None
    expect(page.get_by_role("link", name="Download the sheet")).to_be_visible(timeout=20_000)
    expect(page.locator("button.cell")).to_have_count(10)


def test_without_a_version_there_is_the_way_to_training(page, served):
    open_at(page, "model", served[1], "compare")
    page.get_by_role("main").get_by_role("link", name="Train", exact=True).last.click(timeout=20_000)
    expect(page.get_by_role("heading", name="Estimate").or_(page.get_by_text("All settings")).first).to_be_visible(
        timeout=20_000
    )


def test_what_answers_here_answers_as_the_api_does():
    from lora_scripts_ext.api import model_schemas, review_schemas

    sheet = ContactSheet(PROMPTS)
    answers = [
        (review_schemas.Sheet, sheet._review()),
        (review_schemas.Decision, sheet._take_decisions({"verdict": "approved"})),
        (review_schemas.Publication, sheet._take_publish({"checkpoint": "a.safetensors", "strength": 1.0, "who": ""})),
        (review_schemas.RolledBack, {"withdrawn": sheet.publications[0], "current": None}),
        (model_schemas.Version, sheet._version()),
    ]
    for schema, answer in answers:
        schema(**answer)
