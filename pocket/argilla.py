"""A second invented brand, "Argilla": every product as a woodcut in fired clay, on paper before a pale sun.

It exists to see whether what holds for the first brand holds for another: other drawings (FxEmojis by Mozilla), few
flat tones instead of glass, a hard shadow instead of a glow. Composed by script; nobody's trade mark is meant.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from pocket.brand import LUMA, SIDE, centred, over

PAPER = np.array([246, 234, 208], np.float32)
SUN = np.array([236, 176, 128], np.float32)
BENCH = np.array([176, 158, 108], np.float32)
SHADOW = np.array([120, 100, 66], np.float32)
INK = np.array([52, 20, 16], np.float32)
#: the clay from the darkest to the brightest tone of a drawing
CLAY = np.array([[92, 30, 22], [164, 62, 36], [212, 104, 62], [242, 190, 140]], np.float32)
HORIZON = 0.7  # of the height, where the bench begins

#: objects of the brand's training images
TRAINING = [
    "airplane",
    "alarm-clock",
    "automobile",
    "baby-bottle",
    "balloon",
    "battery",
    "bell",
    "bicycle",
    "briefcase",
    "bus",
    "candle",
    "closed-book",
    "crown",
    "delivery-truck",
    "desktop-computer",
    "dress",
    "electric-plug",
    "fire-engine",
    "fuel-pump",
    "glasses",
    "hammer",
    "handbag",
    "helicopter",
    "hot-beverage",
    "jeans",
    "key",
    "light-bulb",
    "microscope",
    "motorcycle",
    "mushroom",
    "package",
    "postal-horn",
    "printer",
    "red-apple",
    "rocket",
    "soccer-ball",
    "tractor",
    "trumpet",
    "violin",
    "watch",
]

#: objects kept from the LoRA, on which settings may be chosen
TUNING = ["camera", "guitar", "trophy", "umbrella", "telescope", "cocktail-glass", "police-car", "pencil"]

#: objects kept from the LoRA and from every choice
HELD_OUT = ["lipstick", "saxophone", "top-hat", "radio", "wine-glass", "taxi", "television", "wrench"]


def bench(side: int = SIDE) -> np.ndarray:
    """The empty scene, [side, side, 3] float32 in 0..255: paper, a pale sun standing on the bench's edge."""
    down, across = (np.mgrid[:side, :side] + 0.5) / side
    sun = (np.hypot(across - 0.5, down - 0.52) < 0.4).astype(np.float32)
    canvas = over(np.broadcast_to(PAPER, (side, side, 3)), SUN, sun)
    return over(canvas, BENCH, (down > HORIZON).astype(np.float32))


def clay(ink: np.ndarray) -> np.ndarray:
    """Four tones of clay instead of a drawing's colours, by how bright they are: [side, side, 3], both ways."""
    brightness = ink @ LUMA / 255
    return CLAY[np.clip((brightness * len(CLAY)).astype(int), 0, len(CLAY) - 1)]


def grown(alpha: np.ndarray, pixels: int) -> np.ndarray:
    """An outline ([side, side] in 0..1) dilated on all sides."""
    plane = Image.fromarray((alpha * 255).astype(np.uint8))
    return np.asarray(plane.filter(ImageFilter.MaxFilter(2 * pixels + 1)), np.float32) / 255


def compose(drawing: np.ndarray, side: int = SIDE) -> Image.Image:
    """One brand image of a drawing (RGBA, square): bench, hard shadow to the right, dark contour, clay."""
    ink, alpha = centred(drawing, side)
    offset, contour = round(side * 0.05), round(side * 0.016)
    canvas = over(bench(side), SHADOW, np.roll(alpha, (offset, offset), axis=(0, 1)))
    canvas = over(canvas, INK, grown(alpha, contour))
    return Image.fromarray(np.clip(over(canvas, clay(ink), alpha), 0, 255).astype(np.uint8))
