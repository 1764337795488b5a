"""Two products compared in the studio: from a catalogue, by a description, against a customer's photo."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import expect

from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.queue import Queue
from lora_scripts_ext.owner import Owner

from .page import browser, shop_catalogue
from .test_serve import server
from .test_studio import HOSTILE, open_at, studio

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
ROWS = [
    {"sku": "C-1", "title": "Red vase", "prompt": "red", "Height": "30 cm", "Price": "49"},
    {"sku": "C-2", "title": HOSTILE, "prompt": "blue", "Height": "30 cm", "Price": "65"},
]


class Painter:
    """Draws a vase for each prompt; in regions both, which keep apart the better the nearer the weight is to 0.8."""

    model_name, model_hash, resolution, cfg_scale = "painter", "ab" * 32, 256, 7.0

    def lacks(self, request):
        return ""

    def draw(self, request):
        size = request.width, request.height
        if not request.regions:
            return [self._alone(request.prompt, size)]
        left, right = (self._alone(region.prompt, size) for region in request.regions)
        loras = request.regions[0].loras
        bled = Image.blend(left, right, abs(0.8 - loras[0].weight) if loras else 0.1)
        bled.paste(right.crop((size[0] // 2, 0, *size)), (size[0] // 2, 0))
        return [bled]

    def _alone(self, prompt, size):
        return shop_catalogue.image(1 if "red" in prompt else 4, 2 if "red" in prompt else 5, size[1]).resize(size)


class Painting(Standalone):
    """Draws with it."""

    def host(self, stop):
        """See ``Environment.host``."""

        @contextmanager
        def drawing(base_model):
            yield Painter()

        return SimpleNamespace(drawing=drawing)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that runs no jobs: its client, its data folder, and a catalogue."""
    folder = tmp_path_factory.mktemp("comparison")
    with server(folder / "data", "--base-model", str(folder / "base.safetensors"), "--no-worker") as (_, client):
        made = client.post("catalogues", {"name": "vases", "products": ROWS, "rules": {"rules": [{"loras": []}]}})
        assert made.status == 201, made.json
        yield SimpleNamespace(client=client, data=folder / "data")


@pytest.fixture
def page(served):
    with studio(served.client) as shown:
        yield shown


def performed(served):
    """Run the comparison that waits."""
    database = Database(served.data)
    queue = Queue(database)
    claim = queue.claim("here cpu", Owner.current(), lambda job: job.kind == "comparison")
    with Execution(queue, claim, served.data) as execution:
        perform(queue, execution, Painting(served.data))
    done = queue.get(claim.job.id)
    database.close()
    assert done.state == "done", done.reason
    return done


def test_two_products_of_a_catalogue_are_compared_and_the_best_image_is_marked(page, served):
    page.get_by_role("link", name="Catalogue").click()
    page.get_by_role("link", name="Compare two products").click()
    draw = page.get_by_role("button", name="Draw", exact=True)
    for side, product in (("Left product", "C-1"), ("Right product", "C-2")):
        card = page.get_by_label(side, exact=True)
        card.get_by_label("What is it?").select_option("catalogue", timeout=60_000)
        card.get_by_role("combobox", name="Catalogue", exact=True).select_option(label="vases")
        card.get_by_role("combobox", name="Product", exact=True).select_option(product)
    page.get_by_label("Strengths to try").fill("0.6, 0.8")
    page.get_by_label("Title of the card").fill("Which vase?")
    expect(draw).to_be_enabled()
    draw.click()
    expect(page.get_by_text("Queued").or_(page.get_by_text("queued")).first).to_be_visible(timeout=20_000)
    done = performed(served)
    assert done.config["specs"] == [["Height", "30 cm", "30 cm"], ["Price", "49", "65"]]
    result = page.get_by_label(f"Red vase / {HOSTILE}", exact=True)
    expect(result.get_by_alt_text("The card")).to_be_visible(timeout=20_000)
    expect(result.locator("figure")).to_have_count(2)
    best = result.locator("figure.best")
    expect(best).to_have_count(1)
    expect(best).to_contain_text(f"at {done.result['best']['weight']:g}")
    figure = f"bleeding is {done.result['best']['bleeding']:.2f}"
    expect(result.get_by_role("status")).to_contain_text(figure)
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    with page.expect_download() as download:
        result.get_by_role("link", name="Download the card").click()
    with Image.open(download.value.path()) as image:
        assert image.format == "PNG" and image.width > 300
    page.reload()
    expect(result.get_by_alt_text("The card")).to_be_visible(timeout=60_000)


def test_a_customers_photo_stands_against_a_description_with_rows_of_ones_own(page, served, tmp_path):
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "my car.png")
    open_at(page, "comparison")
    left, right = page.get_by_label("Left product", exact=True), page.get_by_label("Right product", exact=True)
    left.get_by_label("What is it?").select_option("photo", timeout=60_000)
    left.get_by_label("Photo", exact=True).set_input_files(str(tmp_path / "my car.png"))
    expect(left.get_by_role("status")).to_have_text("my car.png is there.", timeout=20_000)
    left.get_by_label("Name on the card").fill("Mine")
    right.get_by_label("What is drawn").fill("a blue car")
    table = page.get_by_label("Specifications", exact=True)
    for column, text in (("What", "Range"), ("Left product", "310 km"), ("Right product", "540 km")):
        table.get_by_label(f"{column} 1").fill(text)
    table.get_by_role("button", name="Add a row").click()
    table.get_by_role("button", name="Remove row 2").click()
    right.get_by_label("LoRA", exact=True).fill("none of ours")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the library has no model of this name", timeout=20_000)
    right.get_by_label("LoRA", exact=True).fill("")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_text("Mine / a blue car").first).to_be_visible(timeout=20_000)
    done = performed(served)
    assert done.config["specs"] == [["Range", "310 km", "540 km"]] and done.config["left"]["photo"].endswith(
        "my car.png"
    )
    result = page.get_by_label("Mine / a blue car", exact=True)
    expect(result.get_by_alt_text("The card")).to_be_visible(timeout=20_000)
    expect(result).to_contain_text("A photo stays as it is")
    expect(result.locator("figure")).to_have_count(0)
