"""The demo: train a LoRA on a brand's look, generate objects it was not trained on, and measure how close they are."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lora_scripts_ext import config as configs
from lora_scripts_ext import files
from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import PreviewRequest, Session
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.progress import Progress
from lora_scripts_ext.training import run

HERE = Path(__file__).resolve().parent
#: strengths of the LoRA -> seeds of the images at each: the ends are measured, what lies between is only shown
SEEDS = {0.0: (11, 12, 13), 0.5: (11,), 0.8: (11,), 1.0: (11, 12, 13)}
CELL = 128
MARGIN = 8
LABEL = 132
HEADER = 26


@dataclass(frozen=True)
class Object:
    """An object the base model knows and the LoRA was not trained on, with the brand's own image of it.

    outline: "L", white where the object is in that image.
    """

    prompt: str
    image: Image.Image
    outline: Image.Image


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the last line of stdout is one JSON object."""
    parser = argparse.ArgumentParser(prog="run.py demo", description="Train a brand's look on the pocket model.")
    parser.add_argument("--out", default="demo_output", metavar="DIR", help="where the LoRA and the images go")
    parser.add_argument(
        "--objects", type=Path, default=HERE / "held_out", metavar="DIR", help="the brand's images to come close to"
    )
    options = parser.parse_args(arguments)
    out = Path(options.out).resolve()
    started = time.time()
    config = _config(out)
    progress = Progress(sys.stderr)
    result = run.train(config, StandaloneHost(), report=progress)
    progress.close()
    print("generating the held-out objects", file=sys.stderr)
    objects = read_objects(options.objects)
    generated = _draw(config, result.lora, objects)
    grid = out / "grid.png"
    with files.replacing(grid) as temporary:
        _grid(objects, generated).save(temporary, format="PNG")
    before, after = (mean_distances(objects, generated[strength]) for strength in (0.0, 1.0))
    print(
        f"distance to the brand's own images, before and after: on the object {before[0]:.3f} {after[0]:.3f}, "
        f"around it {before[1]:.3f} {after[1]:.3f}",
        file=sys.stderr,
    )
    summary = {
        "lora": str(result.lora),
        "grid": str(grid),
        "steps": result.steps,
        "seconds": round(time.time() - started, 1),
        "distance_before": round(float(before.mean()), 4),
        "distance_after": round(float(after.mean()), 4),
    }
    print(json.dumps(summary))
    return 0


def _config(out: Path) -> Config:
    """The demo's YAML, with the paths of this checkout."""
    return configs.load(
        HERE.parent / "configs" / "demo.yaml",
        [
            f"train_data_dir={HERE / 'brand'}",
            f"base_model={HERE / 'model' / 'pocket.safetensors'}",
            f"output_dir={out}",
        ],
    )


def read_objects(folder: Path) -> list[Object]:
    """The brand's images in *folder*, in the order of its ``metadata.csv``."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as rows:
        return [_object(folder, row["filename"], row["prompt"]) for row in csv.DictReader(rows)]


def _object(folder: Path, name: str, prompt: str) -> Object:
    outline = Image.open(folder / "masks" / name).convert("L")
    return Object(prompt, Image.open(folder / name).convert("RGB"), outline)


def _draw(config: Config, lora: Path, objects: list[Object]) -> dict[float, list[list[Image.Image]]]:
    """Every object at every strength: ``[strength][object][seed]``."""
    with StandaloneHost().open(config) as session:
        targets = select(list(session.targets()), config.target, config.train_text_encoder)
        adapter = Adapter(targets, config.lora_rank, config.alpha)
        adapter.load(file.read(lora))
        with adapter.attached():
            return {strength: _draw_at(session, adapter, strength, config, objects) for strength in SEEDS}


def _draw_at(
    session: Session, adapter: Adapter, strength: float, config: Config, objects: list[Object]
) -> list[list[Image.Image]]:
    adapter.strength = strength
    return [[session.preview(request(config, item.prompt, seed)) for seed in SEEDS[strength]] for item in objects]


def request(config: Config, prompt: str, seed: int) -> PreviewRequest:
    """One image of *prompt*, with the config's preview settings."""
    return PreviewRequest(
        prompt=prompt,
        negative=config.preview_negative,
        seed=seed,
        width=config.resolution[0],
        height=config.resolution[-1],
        steps=config.preview_steps,
        cfg_scale=config.preview_cfg_scale,
        sampler=config.preview_sampler,
    )


def mean_distances(objects: list[Object], generated: list[list[Image.Image]]) -> np.ndarray:
    """Distances of the generated images on the object and around it: root mean square, in 0..1, over both regions
    of the brand's own image; the mean over objects and seeds. The two count alike, however small the object.
    """
    pairs = [(item, image) for item, images in zip(objects, generated, strict=True) for image in images]
    return np.mean([distances(_fit(item.image, image), image, _fit(item.outline, image)) for item, image in pairs], 0)


def distances(own: Image.Image, generated: Image.Image, outline: Image.Image) -> tuple[float, float]:
    """Root mean square difference of two RGB images, in 0..1: (where *outline* is white, where it is black)."""
    squares = np.mean((_array(own) - _array(generated)) ** 2, axis=-1)
    inside = _array(outline)
    return tuple(float(np.sqrt(np.average(squares, weights=weight))) for weight in (inside, 1 - inside))


def _fit(image: Image.Image, to: Image.Image) -> Image.Image:
    return image.resize(to.size, Image.Resampling.LANCZOS)


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32) / 255


def _grid(objects: list[Object], generated: dict[float, list[list[Image.Image]]]) -> Image.Image:
    """A row a strength, a column an object, the brand's own images last."""
    rows = [(_row_name(strength), [images[0] for images in generated[strength]]) for strength in SEEDS]
    rows.append(("The brand's own\n(never shown)", [item.image for item in objects]))
    step = CELL + MARGIN
    sheet = Image.new("RGB", (LABEL + step * len(objects), HEADER + step * len(rows)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, item in enumerate(objects):
        pen.text((LABEL + column * step + 4, 4), item.prompt, fill="black", font=font)
    for row, (name, images) in enumerate(rows):
        top = HEADER + row * step
        pen.text((8, top + CELL // 2 - 16), name, fill="black", font=font)
        for column, image in enumerate(images):
            cell = image.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(cell, (LABEL + column * step, top))
    return sheet


def _row_name(strength: float) -> str:
    return "Before\n(no LoRA)" if strength == 0 else f"<lora:{strength:g}>"


if __name__ == "__main__":
    sys.exit(main())
