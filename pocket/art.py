"""The art: every object in several drawings, from free icon packs on npm.

The 64-px model's autoencoder is trained on ``flat``, ``noto`` and ``glossy``; the model draws the ``flat`` ones. The
128-px model is trained on all. The brand's images are composed from the ``glossy``, the second brand's from
``mozilla``. A drawing is RGBA, [side, side, 4] uint8, straight alpha. LICENSES.md has the packs' licences: MIT and
Apache-2.0 only.
"""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

PACKS = {
    "flat": "fluent-emoji-flat",
    "noto": "noto",
    "glossy": "fluent-emoji",
    "mozilla": "fxemoji",
    "retro": "noto-v1",
    "ink": "fluent-emoji-high-contrast",
    "line": "ph",
}
#: what the autoencoder is trained on
AUTOENCODER_PACKS = ("flat", "noto", "glossy")


def _objects(table_name: str) -> dict[str, str]:
    with (Path(__file__).with_name(table_name)).open(encoding="utf-8", newline="") as table:
        return {row["icon"]: row["phrase"] for row in csv.DictReader(table)}


#: icon name in the packs (the same in all; ``mozilla`` writes it without hyphens) -> its name in the captions
OBJECTS: dict[str, str] = _objects("objects.csv")
#: what the 128-px model draws besides
MORE_OBJECTS: dict[str, str] = _objects("more_objects.csv")


@cache
def pack(style: str, folder: Path) -> dict[str, dict]:
    """The icons of one pack: name -> iconify record (``body`` and, where they differ, ``width``/``height``).

    folder: the ``node_modules`` into which the npm packs were installed.
    """
    data = json.loads((folder / "@iconify-json" / PACKS[style] / "icons.json").read_text(encoding="utf-8"))
    side = {"width": data["width"], "height": data["height"]}
    return {name: side | icon for name, icon in data["icons"].items()}


def find(style: str, icon: str, folder: Path) -> dict | None:
    """The record of an icon in the pack of *style*; None where it has none."""
    icons = pack(style, folder)
    return icons.get(icon) or icons.get(icon.replace("-", ""))


def draw(style: str, icon: str, side: int, folder: Path) -> np.ndarray:
    """One icon drawn *side* pixels square: [side, side, 4] uint8 RGBA."""
    # Only those who draw the icons have it installed.
    import resvg_py

    record = find(style, icon, folder)
    if record is None:
        raise KeyError(f"{PACKS[style]} has no icon {icon}")
    box = f"{record.get('left', 0)} {record.get('top', 0)} {record['width']} {record['height']}"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{side}" height="{side}">{record["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def everything(side: int, folder: Path) -> np.ndarray:
    """Every icon of the autoencoder's packs, in all three drawings, [N, side, side, 4].

    The objects come four times each, which makes them half of the training set.
    """
    shared = set.intersection(*(set(pack(style, folder)) for style in AUTOENCODER_PACKS))
    named = [(style, icon) for style in AUTOENCODER_PACKS for icon in sorted(shared)]
    often = np.array([4 if icon in OBJECTS else 1 for _, icon in named])
    return np.stack([draw(style, icon, side, folder) for style, icon in named]).repeat(often, axis=0)
