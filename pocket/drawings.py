"""The 128-px model's training set: the drawings of all styles in one file, from which machines without the packs train.

The file is a ZIP: ``table.csv`` (file,style,phrase), the drawings as lossless WebP, and the tokenizer in ``text/``.
"""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lora_scripts_ext import files
from pocket import argilla, art, brand, text

SIDE = 128
#: style of the drawings -> what captions call it
STYLES = {
    "flat": "flat",
    "glossy": "glossy",
    "noto": "cartoon",
    "retro": "retro",
    "ink": "ink",
    "mozilla": "paper",
    "line": "line",
}
#: drawings that a brand's tuning and held-out images are composed from: the model must not have seen them
HELD_BACK = {"glossy": {*brand.TUNING, *brand.HELD_OUT}, "mozilla": {*argilla.TUNING, *argilla.HELD_OUT}}
#: the same in every file, so that the same drawings make the same file
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Drawings:
    """All drawings, [N, side, side, 4] uint8 RGBA, with the object's name and the style's name in captions, N each."""

    pixels: torch.Tensor
    phrases: list[str]
    styles: list[str]


def write(path: Path, packs: Path, merges: Path, words: set[str]) -> int:
    """Draw every object in every style that has it; returns how many drawings *path* holds.

    packs: the ``node_modules`` folder. merges: CLIP's, for the tokenizer. words: what is one token each.
    """
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", "style", "phrase"])
    count = 0
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for style, name in STYLES.items():
            for icon, phrase in (art.OBJECTS | art.MORE_OBJECTS).items():
                if icon in HELD_BACK.get(style, ()) or art.find(style, icon, packs) is None:
                    continue
                file = f"{style}/{icon}.webp"
                archive.writestr(zipfile.ZipInfo(file, _DATE), _webp(art.draw(style, icon, SIDE, packs)))
                rows.writerow([file, name, phrase])
                count += 1
        archive.writestr(zipfile.ZipInfo("table.csv", _DATE), table.getvalue())
        with tempfile.TemporaryDirectory() as folder:
            text.write_tokenizer(Path(folder), merges, words)
            for written in sorted(Path(folder).iterdir()):
                archive.writestr(zipfile.ZipInfo(f"text/{written.name}", _DATE), written.read_bytes())
    return count


def _webp(drawing: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawing).save(buffer, format="WEBP", lossless=True, method=6)
    return buffer.getvalue()


def read(path: Path, side: int) -> Drawings:
    """The drawings in the file that :func:`write` has written, resized to *side* pixels."""
    with zipfile.ZipFile(path) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("table.csv").decode("utf-8"))))
        pixels = np.stack([_read(archive.read(row["file"]), side) for row in rows])
    return Drawings(torch.from_numpy(pixels), [row["phrase"] for row in rows], [row["style"] for row in rows])


def _read(data: bytes, side: int) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return np.asarray(image if image.width == side else image.resize((side, side), Image.Resampling.LANCZOS))


def unpack_tokenizer(path: Path, folder: Path) -> None:
    """Write the tokenizer in the file into *folder*."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith("text/"):
                files.write_bytes(folder / name.removeprefix("text/"), archive.read(name))
