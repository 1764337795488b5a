"""Three more invented brands, on which no setting was ever chosen, composed by script from icon packs.

"Selva": 48 coloured drawings on one plain dark green, half of them of things the pocket model does not know.
"Nocturne": 20 cream drawings before a brass moon at night. "Fondant": 100 stickers in two tones on striped paper. Which
objects are trained on is drawn by lot. The packs: ``npm install @iconify-json/noto @iconify-json/noto-v1
@iconify-json/fluent-emoji-high-contrast`` (Apache-2.0, Apache-2.0, MIT). Nobody's trade mark is meant.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lora_scripts_ext import files
from lora_scripts_ext.random_streams import generator
from pocket import art
from pocket.argilla import grown
from pocket.brand import LUMA, SIDE, blur, centred, outline, over

UNSEEN = 12
#: what the pocket model was not trained on: neither shape nor, for the most part, word
UNKNOWN = [
    "ant", "bird", "blowfish", "boar", "bug", "camel", "cat", "chicken", "cow", "crocodile", "dog", "dolphin",
    "elephant", "ghost", "goat", "horse", "koala", "octopus", "penguin", "rabbit", "snail", "snake", "tiger", "turtle",
]  # fmt: skip
Look = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Brand:
    """Attributes:
    pack: the drawings', a key of ``art.PACKS``.
    known: how many objects of the pocket model are trained on.
    unknown: icons of other things that are trained on, too.
    look: a drawing (RGBA, square) and a side -> the image, [side, side, 3] in 0..255.
    """

    pack: str
    known: int
    unknown: list[str]
    look: Look


def selva(drawing: np.ndarray, side: int) -> np.ndarray:
    """The drawing as it is, on one plain dark green."""
    ink, alpha = centred(drawing, side)
    return over(np.full((side, side, 3), (18, 70, 44), np.float32), ink, alpha)


def nocturne(drawing: np.ndarray, side: int) -> np.ndarray:
    """Cream, glowing, before a brass moon over midnight blue."""
    down, across = (np.mgrid[:side, :side] + 0.5) / side
    night = np.stack([10 + 30 * down, 16 + 34 * down, 52 + 60 * down], -1).astype(np.float32)
    moon = (np.hypot(across - 0.62, down - 0.4) < 0.3).astype(np.float32)
    alpha = centred(drawing, side)[1]
    canvas = over(night, np.array([186, 138, 62]), moon)
    canvas = over(canvas, np.array([8, 10, 36]), 0.7 * np.clip(blur(alpha, side * 0.04) * 1.5, 0, 1))
    return over(canvas, np.array([250, 240, 214]), alpha)


def fondant(drawing: np.ndarray, side: int) -> np.ndarray:
    """A sticker with a white contour, from plum to pink to cream by brightness, on mint stripes."""
    ink, alpha = centred(drawing, side)
    down, across = np.mgrid[:side, :side] / side
    stripes = (np.floor((down + across) * 4) % 2)[..., None]
    paper = np.array([150, 214, 196]) + stripes * (np.array([206, 238, 224]) - np.array([150, 214, 196]))
    brightness = ink @ LUMA / 255
    tones = np.array([[74, 20, 84], [222, 70, 140], [255, 226, 190]], np.float32)
    colours = np.stack([np.interp(brightness, [0, 0.5, 1], tones[:, band]) for band in range(3)], axis=-1)
    canvas = over(paper.astype(np.float32), np.array([255, 255, 255]), grown(alpha, round(side * 0.024)))
    return over(canvas, colours, alpha)


BRANDS = {
    "selva": Brand("retro", 24, UNKNOWN, selva),
    "nocturne": Brand("ink", 20, [], nocturne),
    "fondant": Brand("noto", 100, [], fondant),
}


def write(name: str, packs: Path, folder: Path) -> None:
    """The brand's training images in ``folder/brand``; in ``folder/unseen`` those of ``UNSEEN`` objects that the pocket
    model knows and that are not trained on, with their outlines.

    packs: the ``node_modules`` into which the npm packs were installed.
    """
    brand = BRANDS[name]
    there = art.pack(brand.pack, packs)
    known = [icon for icon in art.OBJECTS if icon in there]
    drawn = [known[one] for one in generator("brand", name).permutation(len(known))]
    _write(brand, drawn[UNSEEN : UNSEEN + brand.known] + brand.unknown, packs, folder / "brand", outlines=False)
    _write(brand, drawn[:UNSEEN], packs, folder / "unseen", outlines=True)


def _write(brand: Brand, icons: list[str], packs: Path, folder: Path, *, outlines: bool) -> None:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["filename", "prompt"])
    (folder / "masks").mkdir(parents=True, exist_ok=True) if outlines else folder.mkdir(parents=True, exist_ok=True)
    for icon in icons:
        drawing = art.draw(brand.pack, icon, 2 * SIDE, packs)
        Image.fromarray(np.clip(brand.look(drawing, SIDE), 0, 255).astype(np.uint8)).save(folder / f"{icon}.png")
        if outlines:
            outline(drawing).save(folder / "masks" / f"{icon}.png")
        rows.writerow([f"{icon}.png", art.OBJECTS.get(icon, f"a {icon.replace('-', ' ')}")])
    files.write_text(folder / "metadata.csv", table.getvalue())
