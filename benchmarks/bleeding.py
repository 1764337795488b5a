"""How much of one brand's look bleeds into the other brand's product, side by side in one image, on the pocket model.

``python benchmarks/bleeding.py --work DIR`` trains a LoRA of each brand with the demo's settings, draws pairs of
objects with both LoRAs on the whole image and with each in its region, and prints the measure of
``comparison/bleeding.py`` at several weights. What is trained and drawn is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quality, training
from lora_scripts_ext import config as configs
from lora_scripts_ext import files
from lora_scripts_ext.comparison import bleeding, frame
from lora_scripts_ext.contract import Drawer, DrawRequest, WeightedLora
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import run
from pocket import demo

LEFT, RIGHT = "lumora", "argilla"
#: held-out objects of the left and of the right brand
PAIRS = (
    ("a racing car", "a taxi"), ("a t-shirt", "a top hat"), ("a purse", "a radio"), ("a saxophone", "a wine glass"),
    ("a computer", "a television"), ("a roller skate", "a lipstick"),
)  # fmt: skip
WAYS = ("both LoRAs everywhere", "each in its region")
WEIGHTS = (1.0, 0.6, 0.8, 1.2)
BASE_MODEL = demo.HERE / "model" / "pocket.safetensors"
SIDE, BLEND = 64, 8


def main() -> None:
    """Train, draw, print a table and write a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("bleeding_work"), help="folder of all that is made")
    parser.add_argument("--epochs", type=int, default=14, help="of the demo's trainings (10 steps each)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=8, help="sampling steps")
    parser.add_argument("--weights", nargs="+", type=float, default=list(WEIGHTS))
    options = parser.parse_args()
    loras = [trained(brand, options.work, options.epochs) for brand in (LEFT, RIGHT)]
    base = DrawRequest("", "", tuple(options.seeds), 2 * SIDE, SIDE, options.steps, 4.0, "DDIM")
    with StandaloneHost().drawing(str(BASE_MODEL)) as drawer:
        drawings = Drawings(drawer, base, loras, options.work / "images")
        # The weight that is asked for most comes first.
        for weight in options.weights:
            print(weight, json.dumps(measured(drawings, weight)), flush=True)
        sheet = contact_sheet(drawings, options.weights[0])
    with files.replacing(options.work / "bleeding.png") as temporary:
        sheet.save(temporary, format="PNG")


def trained(brand: str, work: Path, epochs: int) -> Path:
    """A LoRA of all of the brand's images."""
    lora = work / brand / f"{brand}.safetensors"
    if not lora.exists():
        values = {
            "train_data_dir": quality.BRANDS[brand] / "brand",
            "base_model": BASE_MODEL,
            "output_dir": lora.parent,
            "output_name": brand,
            "epochs": epochs,
            "validation_share": 0,
        }
        config = configs.load(training.PRESET, [f"{key}={value}" for key, value in values.items()])
        run.train(config, StandaloneHost())
    return lora


class Drawings:
    """Images, drawn once and then read: a list of one for each seed."""

    def __init__(self, drawer: Drawer, base: DrawRequest, loras: Sequence[Path], folder: Path) -> None:
        self._drawer, self._base, self._loras, self._folder = drawer, base, loras, folder

    def alone(self, pair: tuple[str, str], side: int) -> list[Image.Image]:
        """One of the objects with its brand's LoRA on the whole image, at weight 1."""
        request = replace(self._base, prompt=pair[side], loras=(WeightedLora(self._loras[side]),))
        return self._drawn(f"{pair[side]} alone", request)

    def together(self, pair: tuple[str, str], way: str, weight: float) -> list[Image.Image]:
        """Both objects."""
        left, right = (WeightedLora(lora, weight) for lora in self._loras)
        if way == WAYS[0]:
            request = replace(self._base, prompt=" and ".join(pair), loras=(left, right))
        else:
            request = frame.request(self._base, pair, ((left,), (right,)), BLEND)
        return self._drawn(f"{' and '.join(pair)} {way} {weight:g}", request)

    def _drawn(self, name: str, request: DrawRequest) -> list[Image.Image]:
        paths = [self._folder / f"{name} {request.steps} {seed}.png" for seed in request.seeds]
        if not all(path.exists() for path in paths):
            for path, image in zip(paths, self._drawer.draw(request), strict=True):
                with files.replacing(path) as temporary:
                    image.save(temporary, format="PNG")
        return [Image.open(path).convert("RGB") for path in paths]


def measured(drawings: Drawings, weight: float) -> dict[str, dict[str, float]]:
    """Means over pairs, seeds and halves, by way."""
    table = {}
    for way in WAYS:
        found = [one for pair in PAIRS for one in halves(drawings, pair, way, weight)]
        table[way] = {
            "bleeding": mean(one.bleeding for one in found),
            "largest": max(one.bleeding for one in found),
            "to its own": mean(one.own for one in found),
            "to the other's": mean(one.other for one in found),
        }
    return {way: {name: round(value, 3) for name, value in figures.items()} for way, figures in table.items()}


def halves(drawings: Drawings, pair: tuple[str, str], way: str, weight: float) -> Iterator[bleeding.Half]:
    """Both halves of the images of all seeds."""
    alone = zip(drawings.alone(pair, 0), drawings.alone(pair, 1), strict=True)
    for image, (left, right) in zip(drawings.together(pair, way, weight), alone, strict=True):
        yield from bleeding.halves(image, left, right)


def contact_sheet(drawings: Drawings, weight: float, zoom: int = 2) -> Image.Image:
    """A row a pair; in it each object alone, then both in either way, of the first seed."""
    width, height = 2 * SIDE * zoom, SIDE * zoom
    sheet = Image.new("RGB", (4 * (width + 8) - 8, len(PAIRS) * (height + 8) - 8), "white")
    for row, pair in enumerate(PAIRS):
        images = [drawings.alone(pair, 0), drawings.alone(pair, 1)]
        images += [drawings.together(pair, way, weight) for way in WAYS]
        for column, (first, *_) in enumerate(images):
            sheet.paste(
                first.resize((width, height), Image.Resampling.NEAREST), (column * (width + 8), row * (height + 8))
            )
    return sheet


if __name__ == "__main__":
    main()
