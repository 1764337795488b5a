"""LoRAs that are there, in the studio: imported, found by tags, merged, resized, retired and brought back."""

import re

import pytest
from playwright.sync_api import expect

from .page import browser
from .test_adapter_merge import lora
from .test_serve import server
from .test_studio import HOSTILE, open_at, studio

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A client of a server that runs jobs, and a folder with two LoRAs and a file that is none."""
    folder = tmp_path_factory.mktemp("library")
    loras = folder / "loras"
    loras.mkdir()
    for seed, name in enumerate(("spring", "gold & co")):
        lora(loras / f"{name}.safetensors", seed=seed)
    (loras / "broken.safetensors").write_bytes(b"no tensors")
    with server(folder / "data") as (_, client):
        yield client, loras


@pytest.fixture
def page(served):
    with studio(served[0]) as shown:
        yield shown


def listed(page):
    return page.locator(".shelf a.card")


def test_loras_are_imported_found_merged_resized_retired_and_brought_back(page, served):
    client, loras = served
    before = {path.name: path.read_bytes() for path in loras.iterdir()}
    page.get_by_role("button", name="Import…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Folder on the server (optional)").fill("/no/such/folder")
    dialog.get_by_label("Tags").fill(f"2025, {HOSTILE}")
    dialog.get_by_role("button", name="Import").click()
    expect(dialog.get_by_role("alert")).to_contain_text("/no/such/folder", timeout=20_000)
    dialog.get_by_label("Folder on the server (optional)").fill(str(loras))
    dialog.get_by_label("What they are").select_option("season")
    dialog.get_by_role("button", name="Import").click()
    row = page.get_by_role("row", name=re.compile("Import"))
    expect(row).to_contain_text("2 new models.", timeout=60_000)
    row.get_by_text("1 file was left out").click()
    expect(row).to_contain_text("broken.safetensors")
    open_at(page, "models")
    expect(listed(page)).to_have_count(2, timeout=20_000)
    expect(listed(page).first).to_contain_text(HOSTILE)
    page.get_by_label("All kinds").select_option("season")
    page.get_by_role("searchbox").fill("2025 gold")
    expect(listed(page)).to_have_count(1, timeout=20_000)
    page.get_by_role("searchbox").fill("")
    page.get_by_label("All kinds").select_option("")
    page.get_by_role("button", name="Merge…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("LoRA 1", exact=True).select_option("spring", timeout=20_000)
    dialog.get_by_label("LoRA 2", exact=True).select_option("gold & co")
    dialog.get_by_label("Weight of LoRA 2").fill("0.5")
    dialog.get_by_label("Name").fill("con")
    dialog.get_by_role("button", name="Merge").click()
    expect(dialog.locator(".field.wrong").get_by_role("alert")).to_contain_text("con", timeout=20_000)
    dialog.get_by_label("Name").fill("golden spring")
    dialog.get_by_role("button", name="Merge").click()
    expect(page.get_by_role("heading", name="golden spring")).to_be_visible(timeout=20_000)
    versions = page.get_by_label("Versions")
    expect(versions).to_contain_text("merged from spring version 1 × 1.0 + gold & co version 1 × 0.5", timeout=60_000)
    versions.get_by_role("button", name="More…: version 1").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Rank", exact=True).fill("0")
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog.get_by_role("alert").first).to_be_visible(timeout=20_000)
    dialog.get_by_label("Rank", exact=True).fill("1")
    dialog.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("row", name=re.compile("Resize"))).to_contain_text("done", timeout=60_000)
    (model,) = client.get("models?search=golden").json["items"]
    open_at(page, "model", model["id"], "train")
    expect(versions).to_contain_text("resized from version 1", timeout=20_000)
    expect(versions).to_contain_text("% off the exact result")
    page.get_by_role("button", name="Edit…").click()
    page.get_by_role("button", name="Retire", exact=True).click()
    expect(page.get_by_role("button", name="Bring back")).to_be_visible(timeout=20_000)
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="golden spring")).to_contain_text("retired")
    open_at(page, "models")
    expect(listed(page)).to_have_count(2, timeout=20_000)
    page.get_by_label("All states").select_option(label="retired")
    expect(listed(page)).to_have_count(1, timeout=20_000)
    expect(listed(page)).to_contain_text("golden spring")
    open_at(page, "model", model["id"], "train")
    page.get_by_role("button", name="Edit…").click(timeout=20_000)
    page.get_by_role("button", name="Bring back").click()
    expect(page.get_by_role("button", name="Retire", exact=True)).to_be_visible(timeout=20_000)
    page.get_by_label("Tags").fill("gold，spring")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=20_000)
    assert client.get(f"models/{model['id']}").json["tags"] == ["gold", "spring"]
    assert {path.name: path.read_bytes() for path in loras.iterdir()} == before
