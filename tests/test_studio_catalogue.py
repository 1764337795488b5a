"""A catalogue in the studio: from a product list to chosen images that are handed over, with the keyboard."""

import re
import time
import zipfile
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.queue import Queue
from lora_scripts_ext.owner import Owner

from . import models, shop
from .page import browser, shop_catalogue
from .test_serve import server
from .test_studio import HOSTILE, make, open_at, studio

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
ROWS = [
    {"sku": f"V-{number}", "title": title, "category": category, "tags": "new"}
    for number, (title, category) in enumerate(
        [(HOSTILE, "Vases"), ("Round vase", "Vases"), ("Bowl", "Bowls"), ("Lamp", "Lighting")], 1
    )
]
RULES = {"rules": [{"loras": []}]}
LIST = """Item number;Product name;Category;Kind
B-1;Bowl;Bowls;Round
V-1;Vase;Vases;Tall
;None;Vases;x
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that runs no jobs: its client, its data folder and its base model."""
    folder = tmp_path_factory.mktemp("catalogue")
    checkpoint = models.write_checkpoint(folder / "tiny.safetensors", "sd1")
    with server(folder / "data", "--base-model", str(checkpoint), "--no-worker") as (_, client):
        yield SimpleNamespace(client=client, data=folder / "data", checkpoint=checkpoint)


@pytest.fixture
def page(served):
    with studio(served.client) as shown:
        yield shown


def made(served, rows=ROWS, **more):
    answer = served.client.post(
        "catalogues", {"name": "autumn", "products": rows, "rules": RULES, "candidates": 3, **more}
    )
    assert answer.status == 201, answer.json
    return answer.json["id"]


def chosen_from(page, served, rows=ROWS, failing=(), **more):
    """A catalogue whose images are drawn, and its screen for choosing."""
    id = made(served, rows, **more)
    shop_catalogue.draw(served.data, id, failing)
    open_at(page, "catalogues", id, "choose")
    expect(row(page, 0)).to_be_visible(timeout=60_000)
    return id


def row(page, index):
    return page.locator("article.product").nth(index)


def image(page, index, number):
    return row(page, index).locator("button.candidate").nth(number - 1)


def verdicts(served, id, product):
    found = served.client.get(f"catalogues/{id}/products/{product}").json["candidates"]
    return [one["verdict"] for one in found]


def performed(served, id):
    """Run the job that hands a catalogue over."""
    database = Database(served.data)
    queue = Queue(database)
    claim = queue.claim(
        "exports", Owner.current(), lambda job: job.kind == "catalogue_export" and id in job.config["catalogue"]
    )
    with Execution(queue, claim, served.data) as execution:
        perform(queue, execution, Standalone(served.data, str(served.checkpoint)))
    done = queue.get(claim.job.id)
    database.close()
    return done


def test_a_list_is_read_its_columns_corrected_and_rules_tried_before_anything_is_drawn(page, served, tmp_path):
    client = served.client
    house_style = f"house style {len(client.get('models').json['items'])}"
    make(client, house_style)
    listed = tmp_path / "list.csv"
    listed.write_text(LIST, encoding="utf-8")
    page.get_by_role("link", name="Catalogue").click()
    page.get_by_role("button", name="New catalogue").click()
    page.get_by_label("Name", exact=True).fill("spring")
    page.get_by_role("button", name="Create catalogue").click()
    page.get_by_label("Choose files").set_input_files(str(listed))
    problems = page.get_by_label("Rows that cannot be used")
    expect(problems).to_contain_text("1 row cannot be used", timeout=60_000)
    expect(problems).to_contain_text("Row 4: This row has no SKU")
    expect(page.get_by_label("Article number (SKU)")).to_have_value("Item number")
    page.get_by_label("Category", exact=True).and_(page.locator("#column-category")).select_option("Kind")
    expect(page.get_by_role("row", name=re.compile("^Category"))).to_contain_text("Round", timeout=20_000)
    rules = page.get_by_label("Which look for which products")
    expect(rules).to_contain_text("2 products have no look yet")
    draw = page.get_by_label("Draw", exact=True)
    expect(draw.get_by_role("button", name="Draw", exact=True)).to_be_disabled()
    rules.get_by_role("button", name="A rule for some products").click()
    first = rules.get_by_role("group", name=re.compile("^Rule 1"))
    expect(first).to_contain_text("1 product", timeout=20_000)
    first.get_by_label("LoRA").fill(house_style)
    first.get_by_label("Strength").fill("0.7")
    first.get_by_label("Strength").blur()
    expect(rules).to_contain_text("1 product has no look yet", timeout=20_000)
    rules.get_by_role("button", name="One look for all of these").click()
    expect(rules).to_contain_text("Every product has a look.", timeout=20_000)
    channels = page.get_by_label("Channels to make images for")
    channels.get_by_label(re.compile("^Amazon, main image")).check()
    expect(channels.get_by_role("radio")).to_have_count(0)
    channels.get_by_label("Shown in").select_option("CN")
    channels.get_by_role("radio", name=re.compile("Without a visible mark")).check(timeout=20_000)
    draw.get_by_label("Images of each product").fill("2")
    draw.get_by_label("Images of each product").blur()
    draw.get_by_role("button", name="Draw 4 images").click(timeout=20_000)
    expect(draw.get_by_role("status")).to_contain_text("waits", timeout=20_000)
    id = re.search("catalogues/([0-9a-f]+)", page.url)[1]
    view = client.get(f"catalogues/{id}").json
    assert (view["settings"]["channels"], view["settings"]["visible_mark"], view["candidates"]["waiting"]) == (
        ["amazon-main"],
        "without",
        4,
    )
    (rule, rest) = client.get(f"catalogues/{id}/rules").json["rules"]
    assert (rule["when"], rule["loras"]) == ({"category": "Round"}, [{"name": house_style, "weight": "0.7"}])
    assert not rest.get("when")
    page.reload()
    expect(rules.get_by_label("LoRA").first).to_have_value(house_style, timeout=60_000)


def test_what_is_being_written_stays_and_changes_made_at_once_are_all_kept(page, served):
    id = made(served)

    def slow(route):
        if route.request.method == "PATCH":
            time.sleep(0.5)
        route.continue_()

    page.route(f"**/catalogues/{id}", slow)
    open_at(page, "catalogues", id)
    card = page.get_by_label("Draw", exact=True)
    card.get_by_text("More settings").click(timeout=60_000)
    rules = page.get_by_label("Which look for which products")
    rules.get_by_role("button", name="A rule for some products").click()
    channels = page.get_by_label("Channels to make images for")
    for name in ("Amazon, main image", "Shopify"):
        channels.get_by_label(re.compile(name)).check()
    channels.get_by_label("Shown in").select_option("CN")
    negative = card.get_by_label(re.compile("Never in an image"))
    negative.fill("night")
    # The page asks the server every few seconds.
    with page.expect_response(lambda answer: answer.url.endswith(id) and answer.request.method == "GET"):
        pass
    page.wait_for_timeout(300)
    expect(negative).to_have_value("night")
    negative.blur()
    draw = card.get_by_role("button", name="Draw 12 images")
    expect(draw).to_be_enabled(timeout=20_000)
    draw.click()
    expect(card.get_by_role("status")).to_be_visible(timeout=20_000)
    kept = served.client.get(f"catalogues/{id}").json["settings"]
    assert (kept["channels"], kept["market"], kept["negative_prompt"]) == (["amazon-main", "shopify"], "CN", "night")
    written = served.client.get(f"catalogues/{id}/rules").json["rules"]
    assert [one.get("when") for one in written] == [{"category": "Bowls"}, None]
    # Once something is drawn, another step would be the next one; who watches stays where he is.
    shop_catalogue.draw(served.data, id)
    expect(page.get_by_text("12 images", exact=False).first).to_be_visible(timeout=20_000)
    expect(page.get_by_role("link", name="Next: choose")).to_be_visible(timeout=20_000)


def test_titles_and_selling_points_are_written_by_hand_and_taken_back(page, served):
    id = chosen_from(page, served)
    row(page, 0).get_by_role("button", name=re.compile("^Write a title and selling points")).click()
    row(page, 0).get_by_label("Title for the shop").fill("The tall vase")
    row(page, 0).get_by_label("Selling points, one a line").fill("Handmade\n\nDishwasher-safe")
    row(page, 0).get_by_label("Language").select_option("en")
    row(page, 0).get_by_role("button", name="Save").click()
    expect(row(page, 0)).to_contain_text("The tall vase · Handmade · Dishwasher-safe", timeout=20_000)
    copy = served.client.get(f"catalogues/{id}/products/1").json["copy"]
    assert copy == {"title": "The tall vase", "points": ["Handmade", "Dishwasher-safe"], "language": "en"}
    page.get_by_role("button", name=re.compile("Undo")).click()
    expect(row(page, 0)).not_to_contain_text("The tall vase", timeout=20_000)
    assert served.client.get(f"catalogues/{id}/products/1").json["copy"] is None


def test_a_service_that_the_operator_has_named_is_asked_for_copy(page, served):
    id = chosen_from(page, served)
    open_at(page, "catalogues", id, "handover")
    expect(page.get_by_label("Train on the chosen ones")).to_be_visible(timeout=20_000)
    expect(page.get_by_label("Titles and selling points")).to_have_count(0)
    file = served.data / "service.yaml"
    file.write_text("endpoints: {writer: {url: 'http://127.0.0.1:9/v1', key_from: WRITER_KEY}}", encoding="utf-8")
    try:
        page.reload()
        card = page.get_by_label("Titles and selling points")
        expect(card).to_contain_text("http://127.0.0.1:9/v1", timeout=60_000)
        card.get_by_role("button", name="Write what is missing").click()
        expect(card.get_by_role("button", name="Stop")).to_be_visible(timeout=20_000)
    finally:
        file.unlink()
    job = served.client.get(f"catalogues/{id}").json["writing"]["id"]
    config = served.client.get(f"jobs/{job}").json["config"]
    assert (config["endpoint"], config["key_from"], config["language"]) == ("http://127.0.0.1:9/v1", "WRITER_KEY", "zh")


def test_a_whole_catalogue_is_decided_with_the_keyboard_and_every_step_taken_back(page, served):
    id = chosen_from(page, served)
    keys = page.keyboard
    page.get_by_role("button", name="to decide 4").click()
    expect(row(page, 3)).to_be_visible(timeout=20_000)
    keys.press("2")
    expect(image(page, 0, 2)).to_have_attribute("aria-pressed", "true", timeout=20_000)
    assert verdicts(served, id, 1) == ["", "approved", ""]
    keys.press("3")
    expect(row(page, 0)).to_contain_text("approved as number 2", timeout=20_000)
    keys.press("Enter")
    expect(row(page, 1)).to_be_focused(timeout=20_000)
    keys.press("r")
    expect(row(page, 1).locator("button.rejected")).to_have_count(3, timeout=20_000)
    expect(page.get_by_text("2 of 4 decided")).to_be_visible(timeout=20_000)
    # Rows stay where they are, although they are no longer to be decided.
    expect(page.locator("article.product")).to_have_count(4)
    keys.press("u")
    expect(row(page, 1).locator("button.rejected")).to_have_count(0, timeout=20_000)
    keys.press("Control+z")
    expect(image(page, 0, 3)).to_have_attribute("aria-pressed", "false", timeout=20_000)
    keys.press("j")
    expect(row(page, 2)).to_be_focused()
    keys.press("ArrowRight")
    expect(image(page, 2, 2)).to_have_class(re.compile(r"\bon\b"))
    keys.press("z")
    dialog = page.get_by_role("dialog", name="Bowl, image 2")
    expect(dialog).to_be_visible()
    page.wait_for_function("() => document.querySelector('dialog img').naturalWidth === 96", timeout=20_000)
    keys.press("ArrowRight")
    expect(page.get_by_role("dialog", name="Bowl, image 3")).to_be_visible()
    keys.press("3")
    expect(page.get_by_role("dialog").get_by_role("button", name="Take it back")).to_be_visible(timeout=20_000)
    keys.press("Escape")
    # Not by its role, which it loses before the page has heard of it.
    expect(page.locator("dialog")).to_have_count(0)
    keys.press("c")
    page.get_by_role("dialog").get_by_label("right").fill("50")
    page.get_by_role("dialog").get_by_label("right").blur()
    page.get_by_role("dialog").get_by_role("button", name="Crop", exact=True).click()
    expect(row(page, 2).locator(".shade")).to_have_count(1, timeout=20_000)
    third = served.client.get(f"catalogues/{id}/products/3").json["candidates"][2]
    assert (third["verdict"], third["crop"]) == ("approved", [0, 0, 0.5, 1])
    keys.press("ArrowUp")
    expect(row(page, 1)).to_be_focused()
    keys.press("g")
    expect(row(page, 1).locator(".missing")).to_have_count(1, timeout=20_000)
    keys.press("Enter")
    expect(row(page, 3)).to_be_focused(timeout=20_000)
    keys.press("1")
    expect(page.get_by_role("button", name="approved 3")).to_be_visible(timeout=20_000)


def test_what_people_say_is_kept_with_their_names_and_no_title_becomes_html(page, served):
    id = chosen_from(page, served)
    first = row(page, 0)
    expect(first).to_contain_text(HOSTILE)
    page.get_by_label("Your name").fill("Li")
    first.get_by_label("Comment", exact=True).fill(HOSTILE)
    # In a field the keys are letters.
    first.get_by_label("Comment", exact=True).press_sequentially("2r")
    first.get_by_label("Comment", exact=True).press("Enter")
    expect(first.get_by_label("Comment", exact=True)).to_have_value("", timeout=20_000)
    image(page, 0, 1).click()
    expect(image(page, 0, 1)).to_have_attribute("aria-pressed", "true", timeout=20_000)
    first.get_by_role("button", name="What was said").click()
    expect(first.locator(".said")).to_contain_text(f"{HOSTILE}2r", timeout=20_000)
    said = served.client.get(f"catalogues/{id}/products/1/decisions").json["items"]
    assert [(one["verdict"], one["who"]) for one in said] == [("approved", "Li"), ("comment", "Li")]
    first.get_by_role("button", name=re.compile("^Edit the prompt")).click()
    first.get_by_label("Prompt", exact=True).fill("a vase by the sea")
    first.get_by_role("button", name="Save").click()
    expect(first).to_contain_text("a vase by the sea", timeout=20_000)
    page.get_by_role("button", name=re.compile("Undo")).click()
    expect(first).not_to_contain_text("a vase by the sea", timeout=20_000)
    assert served.client.get(f"catalogues/{id}/products/1").json["edited"] == []


def test_what_failed_says_why_and_what_no_rule_fits_asks(page, served):
    rules = {"rules": [{"when": {"category": ["Vases", "Bowls"]}, "loras": []}]}
    id = chosen_from(page, served, failing=["V-3"], rules=rules)
    page.get_by_role("button", name="failed 1").click()
    expect(page.locator("article.product")).to_have_count(1, timeout=20_000)
    expect(row(page, 0)).to_contain_text(shop_catalogue.ERROR)
    row(page, 0).get_by_role("button", name="Try again").click()
    expect(row(page, 0).locator(".missing")).to_have_count(3, timeout=20_000)
    page.get_by_role("button", name="without a look 1").click()
    expect(row(page, 0)).to_contain_text("No rule fits this product.", timeout=20_000)
    row(page, 0).get_by_label("LoRA").fill("house style")
    row(page, 0).get_by_role("button", name="Draw it").click()
    expect(row(page, 0).locator(".missing")).to_have_count(3, timeout=20_000)
    product = served.client.get(f"catalogues/{id}/products/4").json
    assert [one["name"] for one in product["loras"]] == ["house style"]
    page.get_by_label("Category").select_option("Lighting")
    page.get_by_role("button", name="all 4").click()
    expect(page.locator("article.product")).to_have_count(1, timeout=20_000)
    page.get_by_role("searchbox").fill("nothing of the kind")
    expect(page.get_by_text("No product matches.")).to_be_visible(timeout=20_000)


def test_a_thousand_products_come_page_by_page_and_enter_finds_the_next_to_decide(page, served):
    rows = [{"sku": f"S{number:04}", "title": f"Shoe {number}"} for number in range(1200)]
    id = made(served, rows, candidates=1)
    shop_catalogue.draw(served.data, id, side=8, only=["S0000", "S0100"])
    open_at(page, "catalogues", id, "choose")
    page.get_by_role("button", name="all 1200").click(timeout=60_000)
    expect(row(page, 0)).to_be_visible(timeout=20_000)
    assert page.locator("article.product").count() < 130
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Shoe 100", exact=True)).to_be_focused(timeout=20_000)
    assert page.locator("article.product").count() < 400


def test_what_is_chosen_is_handed_over_and_trained_on(page, served):
    client = served.client
    id = chosen_from(page, served, channels=["social-square"])
    for product in (1, 2):
        client.post(f"catalogues/{id}/products/{product}/candidates/1/decisions", {"verdict": "approved"})
    page.get_by_role("navigation", name="autumn").get_by_role("link", name="Hand over").click()
    card = page.get_by_label("Hand over", exact=True)
    expect(card).to_contain_text("2 of 4", timeout=20_000)
    expect(card).to_contain_text("2 products will be missing")
    card.get_by_label("Also the first image of the 2").check()
    card.get_by_role("button", name="Hand over", exact=True).click()
    expect(card.get_by_role("status")).to_be_visible(timeout=20_000)
    job = performed(served, id)
    assert (job.state, job.result["images"]) == ("done", 4), job.reason
    done = page.get_by_label("Handed over")
    expect(done).to_contain_text("4 finished images.", timeout=20_000)
    for name in ("Download the list (CSV)", "manifest.json"):
        with page.expect_download() as download:
            done.get_by_role("link", name=name).click()
        assert "V-1" in download.value.path().read_text(encoding="utf-8-sig")
    with page.expect_download() as download:
        done.get_by_role("link", name="Download everything (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2 + 4 and archive.testzip() is None
    model = make(client, "next season", shop.write_images(served.data.parent / "set"))
    page.reload()
    training = page.get_by_label("Train on the chosen ones")
    expect(training).to_contain_text("At most 30 %", timeout=60_000)
    training.get_by_label("Model", exact=True).select_option(model)
    training.get_by_role("button", name="Add the approved ones").click()
    # Of eight images two are a quarter.
    expect(training.get_by_role("status")).to_contain_text("2 images added.", timeout=20_000)
    expect(training.get_by_role("status")).to_contain_text("25 % of the set")
    assert len(client.get(f"models/{model}/images?limit=20").json["items"]) == 8
