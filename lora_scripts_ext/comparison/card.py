"""The card that compares two products: their pictures, names and specifications on one image. It needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from ..errors import UserError
from ..images import fonts
from ..images.fonts import Font

Layout = Literal["wide", "tall"]
LAYOUTS: tuple[Layout, ...] = ("wide", "tall")

_BACKGROUND, _INK, _FAINT, _LINES = "#ffffff", "#1b1b1b", "#6b6b6b", "#dcdcdc"
_ACCENT, _TINT = "#0b5cad", "#eaf2fb"
# Longest sides of a picture that may be scaled, on a card whose other picture may be, too.
_WIDE_CELL, _TALL_CELL = 640, 720
# Beside a small photo the text still needs room.
_SMALLEST_CELL = 320
# Parts of the card's width.
_TEXT, _MARGIN, _LABELS = 0.019, 0.03, 0.22
_SMALLEST_TEXT = 12


@dataclass(frozen=True)
class Side:
    """One of the two products.

    Attributes:
        picture: of any size; transparency is laid on the card's background.
        kept: whether it is a photo whose pixels stay as they are: then it is not scaled, and the card is as large as
            it needs.
    """

    picture: Image.Image
    name: str
    kept: bool = False


@dataclass(frozen=True)
class Specification:
    """A row: what is compared, and what both products have to say."""

    label: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Whether it tells the products apart; spaces and the case of letters do not."""
        return _plain(self.left) != _plain(self.right)


@dataclass(frozen=True)
class Card:
    """What is on the card.

    Attributes:
        layout: ``wide``, the products side by side; ``tall``, one below the other, as a phone shows it.
        title: above both; may be empty.
    """

    left: Side
    right: Side
    specifications: Sequence[Specification] = ()
    title: str = ""
    layout: Layout = "wide"


def draw(card: Card) -> Image.Image:
    """The card, RGB.

    Raises:
        UserError: there is no such layout.
    """
    if card.layout not in LAYOUTS:
        raise UserError(f"layout is {card.layout!r}; valid: {', '.join(LAYOUTS)}.")
    return _Drawing(card).draw()


def missing(card: Card) -> str:
    """What of its text this system cannot show, and what helps, as a sentence; empty where it can show all."""
    rows = [text for row in card.specifications for text in (row.label, row.left, row.right)]
    texts = [card.title, card.left.name, card.right.name, *rows]
    for text in texts:
        if fonts.drawable(text, fonts.font(text, _SMALLEST_TEXT)) != text:
            return (
                f"No font here has all characters of {text!r}, question marks are in their place on the card; install "
                "a font for them, such as Noto Sans CJK."
            )
    return ""


class _Drawing:
    """The card as an image."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._sides = (card.left, card.right)
        self._wide = card.layout == "wide"
        self._cell = _cell(self._sides, _WIDE_CELL if self._wide else _TALL_CELL)
        pictures = 2 * self._cell[0] if self._wide else self._cell[0]
        # As many margins beside the pictures as there are columns of them, and one.
        self._margin = max(12, round(pictures * _MARGIN))
        self._width = pictures + (3 if self._wide else 2) * self._margin
        self._normal = max(_SMALLEST_TEXT, round(self._width * _TEXT * (1 if self._wide else 1.6)))
        self._large = round(self._normal * 1.4)
        self._canvas = Image.new("RGB", (self._width, 1), _BACKGROUND)
        self._pen = ImageDraw.Draw(self._canvas)

    def draw(self) -> Image.Image:
        """Measured first, then drawn."""
        height = self._content()
        self._canvas = Image.new("RGB", (self._width, height), _BACKGROUND)
        self._pen = ImageDraw.Draw(self._canvas)
        self._content()
        return self._canvas

    def _content(self) -> int:
        """Draw everything on the canvas, which may be too low for it; returns the height."""
        top = self._margin
        if self._card.title:
            top = self._text((self._margin, top), self._card.title, self._large, _INK, self._inner) + self._margin // 2
        top = self._pictures(top)
        for specification in self._card.specifications:
            top = self._row(top, specification) if self._wide else self._stacked(top, specification)
        return top + self._margin

    @property
    def _inner(self) -> int:
        return self._width - 2 * self._margin

    def _pictures(self, top: int) -> int:
        width, height = self._cell
        lowest = top
        for number, side in enumerate(self._sides):
            left = self._margin + number * (width + self._margin) if self._wide else self._margin
            start = top if self._wide else lowest
            self._paste(side, (left, start))
            bottom = self._text((left, start + height + self._normal // 3), side.name, self._large, _INK, width)
            lowest = max(lowest, bottom) if self._wide else bottom + self._margin // 2
        return lowest + self._margin // 2

    def _row(self, top: int, row: Specification) -> int:
        """Label, left value, right value, side by side."""
        labels = round(self._inner * _LABELS)
        values = (self._inner - labels) // 2
        ends = [
            (self._margin, row.label, labels),
            (self._margin + labels, row.left, values),
            (self._margin + labels + values, row.right, values),
        ]
        return self._banded(top, row, ends, top)

    def _stacked(self, top: int, row: Specification) -> int:
        """The label, and both values side by side below it."""
        half = self._inner // 2
        gap = self._normal // 2
        below = top + gap + self._height(row.label, self._inner - 2 * gap)
        ends = [(self._margin, row.left, half), (self._margin + half, row.right, half)]
        bottom = self._banded(top, row, ends, below)
        self._text((self._margin + gap, top + gap), row.label, self._normal, _FAINT, self._inner - 2 * gap)
        return bottom

    def _banded(self, top: int, row: Specification, cells: Sequence[tuple[int, str, int]], below: int) -> int:
        """Texts side by side, each (left, text, width), on a band that stands out where the products differ."""
        gap = self._normal // 2
        bottom = gap + max(below + gap + self._height(text, width - 2 * gap) for _, text, width in cells)
        if row.differs:
            self._pen.rectangle((self._margin, top, self._width - self._margin, bottom - 1), fill=_TINT)
            self._pen.rectangle((self._margin, top, self._margin + gap // 3, bottom - 1), fill=_ACCENT)
        self._pen.line((self._margin, bottom, self._width - self._margin, bottom), fill=_LINES)
        for left, text, width in cells:
            ink = _FAINT if text is row.label or not row.differs else _INK
            self._text((left + gap, below + gap), text, self._normal, ink, width - 2 * gap)
        return bottom + 1

    def _paste(self, side: Side, at: tuple[int, int]) -> None:
        if at[1] >= self._canvas.height:
            # While it is only measured.
            return
        width, height = self._cell
        picture = _fitting(side, self._cell)
        corner = at[0] + (width - picture.width) // 2, at[1] + (height - picture.height) // 2
        self._canvas.paste(picture, corner, picture if picture.mode == "RGBA" else None)

    def _text(self, at: tuple[int, int], text: str, size: int, ink: str, width: float) -> int:
        """All of ``text`` in lines of this width; returns where the next may begin."""
        chosen = fonts.font(text, size)
        left, top = at
        for line in _lines(text, chosen, width):
            self._pen.text((left, top), line, fill=ink, font=chosen)
            top += _line(size)
        return top

    def _height(self, text: str, width: float) -> int:
        return len(_lines(text, fonts.font(text, self._normal), width)) * _line(self._normal)


def _cell(sides: Sequence[Side], longest: int) -> tuple[int, int]:
    """Width and height of the room for each picture: as large as the photos that stay as they are, or else such that
    the longest side of any picture is ``longest``."""
    kept = [side.picture.size for side in sides if side.kept]
    if kept:
        return max(_SMALLEST_CELL, *(width for width, _ in kept)), max(height for _, height in kept)
    scaled = [_scaled(side.picture.size, (longest, longest)) for side in sides]
    return max(width for width, _ in scaled), max(height for _, height in scaled)


def _fitting(side: Side, cell: tuple[int, int]) -> Image.Image:
    """RGB, or RGBA where it has transparent parts."""
    transparent = side.picture.mode in ("RGBA", "LA", "PA") or "transparency" in side.picture.info
    picture = side.picture.convert("RGBA" if transparent else "RGB")
    if side.kept:
        return picture
    size = _scaled(picture.size, cell)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _scaled(size: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    scale = min(room[0] / size[0], room[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _lines(text: str, chosen: Font, width: float) -> list[str]:
    """All of it."""
    return fonts.wrapped(fonts.drawable(text, chosen), chosen, width, most=len(text) + 1)


def _line(size: int) -> int:
    """Height of a line of text; Chinese fonts need more than others."""
    return round(size * 1.5)


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()
