"""The catalogue's examples on the pocket model: ``python examples/run.py STORY --out DIR``.

A story's files are copied into DIR, as a shop would have them there, the brands' LoRAs are trained, and the story's
commands are run and shown. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from examples import photos, sheet  # noqa: E402
from lora_scripts_ext import files  # noqa: E402

MODEL = ROOT / "pocket" / "model" / "pocket.safetensors"
#: name of a LoRA -> the images that it learns from
BRANDS = {"lumora": ROOT / "pocket" / "brand", "argilla": ROOT / "pocket" / "argilla" / "brand"}
EPOCHS, STEPS = 14, 16
#: of the finished images, in the order of the fashion story's columns
CHANNELS = ("amazon-main", "taobao-main", "shopify")
#: SKUs of a quick run; that without one is wrong on purpose
QUICK = ("M-101", "M-201", "", "M-301", "P-01-glass", "P-01-mixed")
#: SKUs of the fashion brand's products of which there is a photo -> what is drawn in its place
PHOTOS = {"M-101": "t-shirt", "M-102": "handbag", "M-103": "cap"}
STYLES = ("glass", "clay", "mixed", "plain")


class Failed(Exception):
    """A command did not do its work; it has said why."""


class Shop:
    """The folder of a shop, in which a story's commands are run.

    Attributes:
        folder: with the story's files.
        quick: whether little is trained and drawn, to see the road rather than the images.
    """

    def __init__(self, story: str, folder: Path, work: Path, quick: bool) -> None:
        """Let the story's files be in the folder.

        Args:
            story: name of a folder beside this file.
            folder: the shop's; created.
            work: folder that keeps the LoRAs for the next story.
            quick: see above.
        """
        self.folder, self.quick = folder, quick
        self._work = work / ("quick" if quick else "loras")
        for file in (HERE / story).iterdir():
            if file.suffix in (".csv", ".json", ".yaml"):
                files.copy(file, folder / file.name)
        if quick:
            for path in folder.glob("products.*"):
                _shorten(path)

    def lora(self, brand: str) -> None:
        """Put the brand's LoRA where the rules look for it; trained where there is none yet."""
        trained = self._work / brand / f"{brand}.safetensors"
        if not trained.is_file():
            values = {
                "train_data_dir": BRANDS[brand], "base_model": MODEL, "output_dir": trained.parent,
                "output_name": brand, "epochs": EPOCHS, "max_steps": 2 if self.quick else 0, "validation_share": 0,
            }  # fmt: skip
            settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
            self._call([str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "demo.yaml"), *settings])
        files.copy(trained, self.folder / "loras" / trained.name)

    def catalogue(self, *words: str) -> dict[str, Any]:
        """Run ``catalogue`` in the shop's folder; what it prints last.

        Raises:
            Failed: its exit code is not 0.
        """
        found: dict[str, Any] = json.loads(self._call(["-m", "lora_scripts_ext", "catalogue", *words]).splitlines()[-1])
        return found

    def generate(self, products: str, channels: Sequence[str], *more: str) -> dict[str, Any]:
        """Check a list, then draw its candidates."""
        steps = 2 if self.quick else STEPS
        listed = ["--products", products, "--rules", "rules.yaml", "--templates", "templates.yaml",
                  "--glossary", "glossary.yaml"]  # fmt: skip
        self.catalogue("check", *listed)
        named = [word for channel in channels for word in ("--channel", channel)]
        return self.catalogue(
            "generate", *listed, *named, "--out", "drawn", "--base-model", str(MODEL), *more,
            "--set", f"steps={steps}", "--set", "cfg_scale=4", "--set", "producer=Example-Shop",
        )  # fmt: skip

    def _call(self, words: Sequence[str]) -> str:
        print(f"$ python {shlex.join(words)}", file=sys.stderr, flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
        )
        if done.returncode:
            raise Failed
        return done.stdout


def fashion(shop: Shop) -> Path:
    """A fashion brand's product images; returns the contact sheet."""
    skus = ["M-101", "M-201"] if shop.quick else ["M-101", "M-102", "M-103", "M-201", "M-202", "M-203", "M-204"]
    shots = {sku: shop.folder / "photos" / f"{name}.png" for sku, name in PHOTOS.items()}
    for path in shots.values():
        photos.write(path.stem, path)
    shop.lora("lumora")
    shop.generate(
        "products.csv", CHANNELS, "--candidates", "2", "--keep-product",
        "--set", "market=CN", "--set", "visible_mark=without",
    )  # fmt: skip
    for sku in skus:
        shop.catalogue("approve", "--catalogue", "drawn", "--sku", sku, "--candidate", "1", "--who", "Li")
    images = _images(shop, shop.catalogue("export", "--catalogue", "drawn", "--out", "approved"))
    rows = [(sku, [shots.get(sku), *(images.get((sku, channel)) for channel in CHANNELS)]) for sku in skus]
    return sheet.write(shop.folder / "sheet.png", ("photo", *CHANNELS), rows, 50)


def phones(shop: Shop) -> Path:
    """A marketplace's concept art of used phones in several styles; returns the contact sheet."""
    for brand in BRANDS:
        shop.lora(brand)
    drawn = shop.generate("products.json", ["social-square"], "--candidates", "1", "--set", "market=CN")
    images = _images(shop, drawn)
    things = sorted({sku.rpartition("-")[0] for sku, _ in images})
    rows = [(thing, [images.get((f"{thing}-{style}", "social-square")) for style in STYLES]) for thing in things]
    return sheet.write(shop.folder / "sheet.png", STYLES, rows, 50)


def cars(shop: Shop) -> Path:
    """A car dealer's comparison images; returns the card of two models."""
    for brand in BRANDS:
        shop.lora(brand)
    photos.write("car", shop.folder / "photos" / "car.png")
    steps = ["--steps", "2" if shop.quick else str(STEPS), "--cfg-scale", "4", "--base-model", str(MODEL),
             "--producer", "Example-Dealer", "--seed", "1"]  # fmt: skip
    card = shop.catalogue(
        "compare", "--left", "a car", "--left-name", "Comet 3", "--left-lora", "loras/lumora.safetensors",
        "--right", "a van", "--right-name", "Hauler 9", "--right-lora", "loras/argilla.safetensors:0.8",
        "--specs", "specs.csv", "--weights", "1" if shop.quick else "0.6,0.8,1", *steps, "--out", "models",
    )["card"]  # fmt: skip
    shop.catalogue(
        "compare", "--left", "我的车", "--left-photo", "photos/car.png", "--right", "a car", "--right-name", "新车",
        "--right-lora", "loras/lumora.safetensors", "--specs", "my-car.csv", *steps, "--out", "mine",
    )  # fmt: skip
    return shop.folder / card


STORIES: dict[str, Callable[[Shop], Path]] = {"fashion": fashion, "phones": phones, "cars": cars}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a story; returns the exit code: 0 done, 1 a command has failed."""
    parser = argparse.ArgumentParser(prog="python examples/run.py", description=__doc__.splitlines()[0])
    parser.add_argument("story", choices=STORIES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the shop's folder")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keeps the LoRAs (default: examples_work beside DIR)")
    parser.add_argument("--quick", action="store_true", help="train and draw little, to see the road")
    options = parser.parse_args(arguments)
    started = time.time()
    out = options.out.absolute()
    work = options.work.absolute() if options.work else out.parent / "examples_work"
    try:
        shown = STORIES[options.story](Shop(options.story, out, work, options.quick))
    except Failed:
        return 1
    print(json.dumps({"sheet": str(shown), "seconds": round(time.time() - started, 1)}))
    return 0


def _shorten(path: Path) -> None:
    """Leave the rows of a quick run in a product list."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        rows = [row for row in json.loads(text) if row["sku"] in QUICK]
        files.write_text(path, json.dumps(rows, ensure_ascii=False))
    else:
        head, *lines = text.splitlines()
        files.write_text(path, "\n".join([head, *(line for line in lines if line.split(",")[0] in QUICK)]))


def _images(shop: Shop, done: dict[str, Any]) -> dict[tuple[str, str], Path]:
    """The first finished image of each product for each channel: (SKU, channel) -> file."""
    manifest = shop.folder / done["manifest"]
    found: dict[tuple[str, str], Path] = {}
    for image in json.loads(manifest.read_text(encoding="utf-8"))["images"]:
        found.setdefault((image["sku"], image["channel"]), manifest.parent / image["file"])
    return found


if __name__ == "__main__":
    sys.exit(main())
