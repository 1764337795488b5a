"""The studio in Chromium: its size, its first paint, frame times while thousands of images scroll, and the time from a
folder of 40 images to a running training.

    python benchmarks/studio.py [--images 5000]

Needs the packages of requirements-test.txt and a Chromium. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.page import browser
from tests.test_serve import server

_LOADS = 7
_STEPS = (30, 60, 400)
_PAUSE_MS = 800
_STUDIO = ROOT / "lora_scripts_ext" / "studio"
_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_LOADED = "() => performance.getEntriesByType('resource').map((one) => one.name)"
#: gives the milliseconds until the heading of the first screen is there
_HEADING = """async () => {
    while (!document.querySelector("h1")) await new Promise(requestAnimationFrame);
    return performance.now();
}"""
#: scrolls by a step in each of 300 frames; gives the time between them in milliseconds
_SCROLL = """async (step) => {
    const times = [];
    let before = performance.now();
    while (times.length < 300) {
        scrollBy(0, step);
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        times.push(now - before);
        before = now;
    }
    return times;
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_images(folder / "images", options.images)
        with server(folder / "data", "--no-worker") as (_, client), sync_playwright() as engine:
            url = f"http://127.0.0.1:{client.port}/lora-trainer/studio/?lang=en"
            model = client.post("models", {"name": "many", "folder": str(folder / "images")}).json["id"]
            with browser.opened(engine, url) as page:
                result = {"bytes": _sizes(page, url), **_paints(page, url), "images": options.images}
                result |= _scrolled(page, f"{url}#/model/{model}", options.images)
        result["first_training"] = _first_training(folder / "story")
    print(json.dumps(result))


def _sizes(page: Any, url: str) -> dict[str, int]:
    """Bytes of the files, unzipped; ``first`` are the scripts that the list of models has loaded."""
    files = [path for path in _STUDIO.rglob("*") if path.suffix in (".js", ".css", ".html")]
    vendor = [path for path in files if "vendor" in path.parts]
    own = [path for path in files if path.suffix == ".js" and path not in vendor]
    page.goto("about:blank")
    page.goto(url)
    page.get_by_role("heading", name="Models").wait_for()
    base = url.partition("?")[0]
    loaded = {name.removeprefix(base) for name in page.evaluate(_LOADED) if name.startswith(base)}
    first = [path for path in files if path.suffix == ".js" and path.relative_to(_STUDIO).as_posix() in loaded]
    sets = {
        "first_own_scripts": [path for path in first if path in own],
        "first_vendor": [path for path in first if path in vendor],
        "own_scripts_one_language": [path for path in own if "zh" not in path.parts],
        "own_scripts": own,
        "vendor": vendor,
        "all": files,
    }
    return {name: sum(path.stat().st_size for path in paths) for name, paths in sets.items()}


def _paints(page: Any, url: str) -> dict[str, dict[str, float]]:
    """First contentful paint, and when the list of models is there: of a page that is reloaded each time."""
    times: dict[str, list[float]] = {"first_paint_ms": [], "models_ms": []}
    for _ in range(_LOADS):
        page.goto("about:blank")
        page.goto(url)
        times["models_ms"].append(page.evaluate(_HEADING))
        times["first_paint_ms"].append(page.evaluate(_PAINT))
    return {
        name: {"median": round(statistics.median(all_of), 1), "worst": round(max(all_of), 1)}
        for name, all_of in times.items()
    }


def _scrolled(page: Any, url: str, count: int) -> dict[str, Any]:
    page.goto("about:blank")
    page.goto(url)
    page.get_by_role("button", name=f"all {count}").wait_for(timeout=120_000)
    # Until the whole list is there; thumbnails are made while it scrolls.
    page.wait_for_function(f"() => document.body.scrollHeight > {count} * 20", timeout=120_000)
    frames = {}
    for step in _STEPS:
        # The second time thumbnails are there, as they are from the second visit on.
        for _ in range(2):
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(_PAUSE_MS)
            times = page.evaluate(_SCROLL, step)
        frames[f"{step}_pixels_a_frame"] = _frames(times)
    return {"frames": frames, "tiles": page.locator(".tile").count()}


def _first_training(folder: Path) -> dict[str, Any]:
    """From a folder of 40 images to a training that has begun, as fast as a page can be clicked.

    The clicks are the five below; what is typed is a name, and the path of the folder.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    for path in [*sorted((ROOT / "pocket" / "brand").glob("*.png"))[:40], ROOT / "pocket" / "brand" / "metadata.csv"]:
        shutil.copy(path, images)
    with (
        server(folder / "data") as (_, client),
        sync_playwright() as engine,
        browser.opened(engine, f"http://127.0.0.1:{client.port}/?lang=en") as page,
    ):
        page.get_by_role("button", name="New model").wait_for()
        started = time.monotonic()
        page.get_by_role("button", name="New model").click()
        page.get_by_label("Name", exact=True).fill("autumn")
        page.get_by_label("Folder on the server (optional)").fill(str(images))
        page.get_by_role("button", name="Create model").click()
        page.get_by_role("link", name="Next: captions").click()
        page.get_by_role("link", name="Next: train").click()
        page.get_by_role("button", name="Start now").click()
        queued = time.monotonic()
        page.get_by_text(re.compile(r"^Step \d+ of")).wait_for(timeout=300_000)
        begun = time.monotonic()
    return {"clicks": 5, "seconds_to_queued": round(queued - started, 1), "to_first_step": round(begun - queued, 1)}


def _frames(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    at = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in _SHARES.items()}
    return {"count": len(ordered), **{name: round(value, 1) for name, value in at.items()}}


_SHARES = {"median_ms": 0.5, "p95_ms": 0.95, "worst_ms": 1.0}


def _write_images(folder: Path, count: int) -> None:
    """Photos' size in pixels, each of another colour, so that each thumbnail is made."""
    folder.mkdir()
    for index in range(count):
        color = (index % 256, index // 256 * 12 % 256, 120)
        Image.new("RGB", (1024, 768), color).save(folder / f"{index:05}.jpg", quality=80)


if __name__ == "__main__":
    main()
