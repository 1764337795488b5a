"""Images that behave like photos: soft gradients, grain, texture, and things with sharp outlines."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def photo(seed: int, side: int = 640, white: bool = False, busy: bool = False) -> Image.Image:
    """A scene; ``white`` puts its things on a white backdrop, ``busy`` fills the backdrop with clutter."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    slopes, tint = rng.uniform(1, 4, (2, 3)), rng.uniform(60, 190, 3)
    light = tint + 40 * np.sin(columns[..., None] * slopes[0] + rows[..., None] * slopes[1])
    coarse = Image.fromarray(rng.integers(0, 256, (side // 5, side // 5), dtype=np.uint8))
    texture = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)[..., None] - 128
    light = np.full_like(light, 252) if white else light + 0.12 * texture
    image = Image.fromarray(np.clip(light + rng.normal(0, 2, light.shape), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    if busy:
        for _ in range(1500):
            x, y = rng.integers(0, side, 2).tolist()
            draw.line(
                [x, y, x + int(rng.integers(-40, 40)), y + int(rng.integers(-40, 40))], fill=_colour(rng), width=3
            )
    for _ in range(int(rng.integers(3, 7))):
        x, y = rng.integers(side // 5, side // 2, 2).tolist()
        width, height = rng.integers(side // 8, side // 3, 2).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape([x, y, x + width, y + height], fill=_colour(rng), outline=_colour(rng), width=4)
    return image


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(rng.integers(0, 220, 3).tolist())
