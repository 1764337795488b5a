"""The catalogue's examples: every story runs through its commands, with little trained and drawn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lora_scripts_ext import marks

ROOT = Path(__file__).resolve().parent.parent
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Runs a story as a user would; its folder, and what it said. The stories share the LoRAs."""
    place = tmp_path_factory.mktemp("examples")

    def run(story):
        command = [sys.executable, "examples/run.py", story, "--out", str(place / story), "--quick"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        with Image.open(result["sheet"]) as sheet:
            sheet.verify()
        return place / story, done.stderr

    return run


def entries(manifest):
    return json.loads(manifest.read_text(encoding="utf-8"))["images"]


def test_a_fashion_brand(ran):
    shop, said = ran("fashion")
    assert "row 4: This row has no SKU" in said and "M-301" in said
    images = {(one["sku"], one["channel"]): one for one in entries(shop / "approved" / "manifest.json")}
    channels = ("amazon-main", "taobao-main", "shopify")
    # Without a photo there is nothing to put on white.
    assert set(images) == {("M-101", one) for one in channels} | {("M-201", one) for one in channels[1:]}
    assert "M-201: mask: amazon-main wants a white background" in said
    assert {one["approval"]["by"] for one in images.values()} == {"Li"}
    # On white it is the photo itself; in the scene its pixels were put back.
    photo, scene, drawn = (
        images[one] for one in (("M-101", "amazon-main"), ("M-101", "shopify"), ("M-201", "shopify"))
    )
    assert photo["seed"] is None and photo["width"] >= 1600
    assert [one["label"]["source"] for one in (photo, scene, drawn)] == [
        COMPOSITE,
        COMPOSITE,
        "trainedAlgorithmicMedia",
    ]
    assert drawn["prompt"] == "Aurora dress" and drawn["loras"][0]["name"] == "lumora"
    assert (drawn["width"], drawn["height"]) == (2048, 2048)
    assert marks.read(shop / "approved" / drawn["file"]).sources == ("trainedAlgorithmicMedia",)


def test_a_marketplace_of_used_phones(ran):
    shop, _ = ran("phones")
    images = {one["sku"]: one for one in entries(shop / "drawn" / "manifest.json")}
    assert {sku: one["prompt"] for sku, one in images.items()} == {
        "P-01-glass": "used phone",
        "P-01-mixed": "used phone",
    }
    mixed = [(one["name"], one["weight"]) for one in images["P-01-mixed"]["loras"]]
    assert mixed == [("lumora", 0.5), ("argilla", 0.5)]


def test_a_car_dealer(ran):
    shop, _ = ran("cars")
    assert {path.name for path in (shop / "models").glob("*.png")} == {
        "card.png",
        "left.png",
        "right.png",
        "left-alone.png",
        "right-alone.png",
        "both-1.png",
    }
    with Image.open(shop / "photos" / "car.png") as photo, Image.open(shop / "mine" / "card.png") as card:
        assert holds(card.convert("RGB"), photo.convert("RGB"))


def holds(card, photo):
    """Whether the photo's pixels stand somewhere on the card."""
    first = photo.crop((0, 0, photo.width, 1)).tobytes()
    for y in range(card.height - photo.height + 1):
        place = card.crop((0, y, card.width, y + 1)).tobytes().find(first)
        if place >= 0:
            left = place // 3
            return card.crop((left, y, left + photo.width, y + photo.height)).tobytes() == photo.tobytes()
    return False
