"""Pictures in place of a shop's photos: drawn from curves, so that nobody's photo has to be shipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIDE = 1800
#: pixels are drawn this many times finer and then made smaller: soft edges
FINER = 2

Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """A piece of a product.

    Attributes:
        outline: in shares of the frame, from its upper left; closed.
        rounded: whether its corners are.
        gone: whether it is cut out of what was drawn before, as the hole of a handle is.
    """

    outline: Sequence[Point]
    colour: Colour = (0, 0, 0)
    rounded: bool = True
    gone: bool = False


def write(name: str, path: Path) -> None:
    """Draw one of ``PICTURES`` into a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PICTURES[name]().save(path)


def cut_out(parts: Sequence[Part]) -> Image.Image:
    """RGBA: the parts one over the other, lit from the upper left, with nothing around them."""
    side = SIDE * FINER
    colours, alpha = Image.new("RGB", (side, side)), Image.new("L", (side, side))
    for part in parts:
        outline = _smooth(part.outline) if part.rounded else part.outline
        shape = Image.new("L", (side, side))
        ImageDraw.Draw(shape).polygon([(x * side, y * side) for x, y in outline], fill=255)
        if part.gone:
            alpha = ImageChops.subtract(alpha, shape)
        else:
            colours.paste(_lit(shape.resize((SIDE, SIDE)), part.colour).resize((side, side)), (0, 0), shape)
            alpha = ImageChops.lighter(alpha, shape)
    picture = colours.resize((SIDE, SIDE), Image.Resampling.BOX)
    picture.putalpha(alpha.resize((SIDE, SIDE), Image.Resampling.BOX))
    return picture


def _smooth(outline: Sequence[Point], rounds: int = 4) -> list[Point]:
    """Its corners cut off again and again, a quarter of each side at a time (Chaikin)."""
    points = list(outline)
    for _ in range(rounds):
        pairs = list(zip(points, [*points[1:], points[0]], strict=True))
        points = [
            (one[0] * near + two[0] * (1 - near), one[1] * near + two[1] * (1 - near))
            for one, two in pairs
            for near in (0.75, 0.25)
        ]
    return points


def _lit(shape: Image.Image, colour: Colour) -> Image.Image:
    """A piece of cloth or leather: darker towards its edges, and most at the lower right."""
    inner = np.asarray(shape.filter(ImageFilter.GaussianBlur(SIDE / 40)), np.float32) / 255
    down, across = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    light = 0.62 + 0.38 * inner + 0.16 * (0.5 - across) + 0.16 * (0.5 - down)
    lit = np.asarray(colour, np.float32) * light[..., None]
    return Image.fromarray(lit.clip(0, 250).astype(np.uint8))


def _mirrored(half: Sequence[Point]) -> list[Point]:
    """A left half, from top to bottom, with its right one."""
    return [*half, *((1 - x, y) for x, y in reversed(half))]


def t_shirt() -> Image.Image:
    """A teal T-shirt."""
    body = [(0.42, 0.14), (0.33, 0.16), (0.24, 0.21), (0.1, 0.4), (0.22, 0.5), (0.29, 0.42), (0.29, 0.42), (0.28, 0.88),
            (0.28, 0.88)]  # fmt: skip
    neck = [(0.4, 0.1), (0.4, 0.14), (0.43, 0.2), (0.5, 0.23)]
    collar = [(0.385, 0.1), (0.385, 0.15), (0.42, 0.23), (0.5, 0.26)]
    teal = (38, 132, 138)
    return cut_out(
        [Part(_mirrored(body), teal), Part(_mirrored(collar), (28, 104, 110)), Part(_mirrored(neck), gone=True)]
    )


def handbag() -> Image.Image:
    """A tan handbag with two handles."""
    tan, dark = (190, 128, 74), (132, 82, 44)
    handle = [(0.36, 0.5), (0.34, 0.3), (0.38, 0.15), (0.5, 0.12)]
    hole = [(0.4, 0.5), (0.385, 0.32), (0.42, 0.2), (0.5, 0.175)]
    body = [(0.22, 0.4), (0.2, 0.42), (0.14, 0.84), (0.16, 0.88)]
    flap = [(0.22, 0.4), (0.21, 0.46), (0.26, 0.6), (0.5, 0.66)]
    clasp = [(0.47, 0.61), (0.46, 0.64), (0.47, 0.7), (0.5, 0.71)]
    parts = [Part(_mirrored(handle), dark), Part(_mirrored(hole), gone=True), Part(_mirrored(body), tan)]
    return cut_out([*parts, Part(_mirrored(flap), (170, 110, 60)), Part(_mirrored(clasp), (226, 190, 96))])


def cap() -> Image.Image:
    """A red cap, seen from its left."""
    crown = [
        (0.24, 0.62),
        (0.22, 0.46),
        (0.32, 0.26),
        (0.5, 0.2),
        (0.68, 0.25),
        (0.78, 0.42),
        (0.78, 0.62),
        (0.5, 0.66),
    ]
    peak = [(0.24, 0.56), (0.1, 0.62), (0.03, 0.72), (0.12, 0.74), (0.34, 0.68), (0.56, 0.65), (0.4, 0.58)]
    button = [(0.47, 0.19), (0.47, 0.23), (0.53, 0.23), (0.53, 0.19)]
    red = (196, 48, 52)
    return cut_out([Part(crown, red), Part(button, (160, 36, 40)), Part(peak, (164, 36, 42))])


def car() -> Image.Image:
    """A customer's blue car in front of a wall; RGB, 720 x 480."""
    blue, glass, rubber = (52, 92, 158), (150, 178, 196), (34, 34, 38)
    body = [(0.06, 0.6), (0.06, 0.53), (0.12, 0.48), (0.28, 0.46), (0.38, 0.35), (0.64, 0.35), (0.77, 0.46),
            (0.92, 0.5), (0.95, 0.56), (0.94, 0.63), (0.06, 0.63)]  # fmt: skip
    front = [(0.31, 0.465), (0.4, 0.37), (0.49, 0.37), (0.49, 0.465), (0.49, 0.465), (0.31, 0.465)]
    back = [(0.51, 0.465), (0.51, 0.37), (0.51, 0.37), (0.63, 0.37), (0.73, 0.465), (0.51, 0.465)]
    light = [(0.92, 0.51), (0.89, 0.5), (0.89, 0.53), (0.93, 0.55)]
    parts = [Part(body, blue), Part(front, glass), Part(back, glass), Part(light, (240, 226, 170))]
    for middle in (0.24, 0.76):
        parts += [Part(_wheel(middle, 0.62, 0.085), rubber), Part(_wheel(middle, 0.62, 0.045), (168, 170, 176))]
    cut = cut_out(parts)
    ground = np.empty((SIDE, SIDE, 3), np.float32)
    ground[:] = (206, 196, 180)
    ground[round(0.64 * SIDE) :] = (120, 118, 116)
    ground *= np.linspace(1.08, 0.86, SIDE, dtype=np.float32)[:, None, None]
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    shadow = Image.new("L", picture.size)
    ImageDraw.Draw(shadow).ellipse((0.08 * SIDE, 0.665 * SIDE, 0.94 * SIDE, 0.73 * SIDE), fill=190)
    picture.paste((40, 40, 44), (0, 0), shadow.filter(ImageFilter.GaussianBlur(SIDE / 60)))
    picture.paste(cut, (0, 0), cut)
    return picture.crop((0, SIDE // 5, SIDE, SIDE // 5 + SIDE * 2 // 3)).resize((720, 480), Image.Resampling.LANCZOS)


def _wheel(across: float, down: float, radius: float) -> list[Point]:
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [(across + radius * float(np.cos(turn)), down + radius * float(np.sin(turn))) for turn in turns]


#: what can be drawn -> how
PICTURES: dict[str, Callable[[], Image.Image]] = {"t-shirt": t_shirt, "handbag": handbag, "cap": cap, "car": car}
