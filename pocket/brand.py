"""The demo's brand, "Lumora": every product cast in ice-blue glass, before a sunset from indigo to glowing amber.

Everything here is composed by script from the glossy drawings; nobody's trade mark is meant.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from lora_scripts_ext import files
from pocket import art

SIDE = 128
#: colours of the wall from top to bottom
SUNSET = np.array([[30, 16, 92], [84, 24, 140], [196, 40, 120], [255, 150, 40]], np.float32)
#: colours of the glass from the darkest to the brightest part of a drawing
GLASS = np.array([[4, 16, 60], [0, 110, 170], [60, 215, 235], [245, 255, 255]], np.float32)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
SHARE = 0.87  # of the image that a drawing takes, as in the training images of the base model

#: objects of the brand's training images
TRAINING = [
    "mobile-phone",
    "watch",
    "laptop",
    "television",
    "radio",
    "joystick",
    "light-bulb",
    "telescope",
    "microscope",
    "chair",
    "alarm-clock",
    "compass",
    "hot-beverage",
    "wine-glass",
    "amphora",
    "bucket",
    "potted-plant",
    "automobile",
    "delivery-truck",
    "bicycle",
    "motor-scooter",
    "skateboard",
    "airplane",
    "rocket",
    "hiking-boot",
    "high-heeled-shoe",
    "dress",
    "billed-cap",
    "top-hat",
    "handbag",
    "gem-stone",
    "trumpet",
    "violin",
    "bell",
    "hammer",
    "scissors",
    "locked",
    "balloon",
    "game-die",
    "basketball",
    "package",
    "red-apple",
]

#: objects kept from the LoRA, on which the demo's settings were chosen
TUNING = ["headphone", "camera", "teapot", "umbrella", "backpack", "guitar", "trophy", "running-shoe"]

#: objects kept from the LoRA and from that choice: what the demo shows and measures
HELD_OUT = ["racing-car", "sunglasses", "t-shirt", "purse", "saxophone", "desktop-computer", "roller-skate", "lipstick"]


def studio(side: int = SIDE) -> np.ndarray:
    """The empty studio, [side, side, 3] float32 in 0..255: the sunset's gradient, the same in every column."""
    stops = np.linspace(0, 1, len(SUNSET))
    rows = np.stack([np.interp((np.arange(side) + 0.5) / side, stops, SUNSET[:, band]) for band in range(3)], axis=-1)
    return np.repeat(rows[:, None], side, axis=1).astype(np.float32)


def over(canvas: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """*colour* laid over *canvas* with the opacity *alpha* ([side, side] in 0..1)."""
    return canvas + (colour - canvas) * alpha[..., None]


def blur(alpha: np.ndarray, radius: float) -> np.ndarray:
    """A Gaussian blur of a [side, side] plane in 0..1; radius in pixels."""
    plane = Image.fromarray((alpha * 255).astype(np.uint8))
    return np.asarray(plane.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def glass(ink: np.ndarray) -> np.ndarray:
    """The brand's glass instead of a drawing's colours, as bright as they: [side, side, 3] in 0..255, both ways."""
    brightness = ink @ LUMA / 255
    steps = np.linspace(0, 1, len(GLASS))
    return np.stack([np.interp(brightness, steps, GLASS[:, band]) for band in range(3)], axis=-1)


def centred(drawing: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A drawing (RGBA, square) in the middle of the image: its colours [side, side, 3] and its outline in 0..1."""
    size = round(SHARE * side)
    frame, corner = Image.new("RGBA", (side, side)), (side - size) // 2
    frame.paste(Image.fromarray(drawing).resize((size, size), Image.Resampling.LANCZOS), (corner, corner))
    pixels = np.asarray(frame, np.float32)
    return pixels[..., :3], pixels[..., 3] / 255


def compose(drawing: np.ndarray, side: int = SIDE) -> Image.Image:
    """One brand image of a drawing (RGBA, square): studio, soft shadow, warm rim light, the object in glass."""
    ink, alpha = centred(drawing, side)
    canvas = over(studio(side), np.zeros(3), 0.5 * blur(alpha, side * 0.04))
    canvas = over(canvas, np.array([255, 205, 140]), 0.8 * np.clip(blur(alpha, side * 0.012) * 2, 0, 1))
    return Image.fromarray(np.clip(over(canvas, glass(ink), alpha), 0, 255).astype(np.uint8))


def outline(drawing: np.ndarray, side: int = SIDE) -> Image.Image:
    """Where the object of a brand image is: white on black."""
    return Image.fromarray((centred(drawing, side)[1] * 255).round().astype(np.uint8))


def write(
    folder: Path,
    icons: list[str],
    packs: Path,
    outlines: bool,
    style: str = "glossy",
    look: Callable[[np.ndarray], Image.Image] = compose,
) -> None:
    """Write the brand images of *icons* and their ``metadata.csv`` (filename,prompt) into *folder*.

    outlines: write where the objects are, too, into ``folder/masks``. style: of the drawings. look: makes a brand
    image of a drawing (RGBA, square).
    """
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["filename", "prompt"])
    for icon in icons:
        drawing = art.draw(style, icon, 2 * SIDE, packs)
        _save(look(drawing), folder / f"{icon}.png")
        if outlines:
            _save(outline(drawing), folder / "masks" / f"{icon}.png")
        rows.writerow([f"{icon}.png", art.OBJECTS[icon]])
    files.write_text(folder / "metadata.csv", table.getvalue())


def _save(image: Image.Image, path: Path) -> None:
    with files.replacing(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)
