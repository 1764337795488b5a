"""A contact sheet on one PNG, small enough for a mail: a block for each prompt, in it checkpoints from left to right,
strengths from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from .. import files
from ..images import fonts
from ..images.fonts import Font

Language = Literal["en", "zh"]

_BACKGROUND, _INK, _FAINT, _MARK, _LINES = "#ffffff", "#1b1b1b", "#6b6b6b", "#127a3c", "#dcdcdc"
_MARGIN, _GAP, _FRAME = 28, 8, 4
# What a mail takes, and what can be read without zooming.
_MOST_PIXELS, _MOST_WIDTH, _LARGEST_CELL, _SMALLEST_CELL = 4_000_000, 2400, 384, 96
# Tiny images are enlarged to about this side.
_READABLE = 160
_WORDS = {
    "en": {
        "without": "Without LoRA", "epoch": "Epoch {}", "step": "step {}", "last": "last", "suggested": "suggested",
        "strength": "strength",
        "how": "All images of a block have the same prompt and seed. To answer, name the column and the strength, such "
        "as: {column} at {strength}.",
        "mark": "Green frame: suggested.",
    },
    "zh": {
        "without": "不使用 LoRA", "epoch": "第 {} 轮", "step": "{} 步", "last": "最后", "suggested": "推荐",
        "strength": "强度",
        "how": "同一组图片的提示词和随机种子相同。回复时请写明列和强度，例如：{column}，{strength}。",
        "mark": "绿框：推荐。",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A checkpoint.

    Attributes:
        name: of its file, where it is not known by its epoch.
        last: whether it is the finished file among several checkpoints.
    """

    name: str
    epoch: int | None = None
    step: int | None = None
    last: bool = False
    suggested: bool = False


@dataclass(frozen=True)
class Block:
    """The images of a prompt.

    Attributes:
        base: without LoRA; None where that was not drawn.
        cells: by strength, by checkpoint.
    """

    prompt: str
    base: Path | None
    cells: Sequence[Sequence[Path]]


@dataclass(frozen=True)
class Sheet:
    """What is on the sheet.

    Attributes:
        suggested_strength: None where none is suggested.
        parameters: generation parameters for the PNG, as the WebUI writes them.
    """

    title: str
    subtitle: str
    columns: Sequence[Column]
    strengths: Sequence[float]
    blocks: Sequence[Block]
    suggested_strength: float | None = None
    language: Language = "en"
    parameters: str = ""


def write_sheet(path: Path, sheet: Sheet) -> Path:
    """Write the sheet as a PNG to ``path``, which is returned."""
    image = _Drawing(sheet).draw()
    info = PngInfo()
    if sheet.parameters:
        info.add_text("parameters", sheet.parameters)
    with files.replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)
    return path


class _Drawing:
    """The sheet as an image."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        language = sheet.language if sheet.language == "en" or fonts.has_chinese() else "en"
        self._words = _WORDS[language]
        self._has_base = any(block.base is not None for block in sheet.blocks)
        self._across = len(sheet.columns) + self._has_base
        self._cell = _cell_size(sheet, self._across)
        side = max(self._cell)
        self._large, self._normal, self._small = max(20, side // 9), max(15, side // 13), max(13, side // 16)
        numbers = max(self._width(_strength(one), self._large) for one in sheet.strengths)
        self._labels = round(max(numbers, self._width(self._words["strength"], self._small))) + 2 * _GAP
        width = 2 * _MARGIN + self._across * (self._cell[0] + _GAP) + self._labels
        # The sentences at top and bottom need some room.
        self._size = max(width, 640)
        self._canvas = Image.new("RGB", (self._size, 1), _BACKGROUND)
        self._pen = ImageDraw.Draw(self._canvas)

    def draw(self) -> Image.Image:
        """The whole sheet: measured first, then drawn."""
        height = self._content()
        self._canvas = Image.new("RGB", (self._size, height), _BACKGROUND)
        self._pen = ImageDraw.Draw(self._canvas)
        self._content()
        return self._canvas

    def _content(self) -> int:
        """Draw everything on the canvas, which may be too low for it; returns the height."""
        top = self._paragraph(_MARGIN, self._sheet.title, self._large, _INK)
        top = self._paragraph(top, self._sheet.subtitle, self._small, _FAINT)
        top = self._paragraph(top + _GAP, self._how(), self._normal, _INK)
        for block in self._sheet.blocks:
            top += _MARGIN // 2
            self._pen.line((_MARGIN, top, self._size - _MARGIN, top), fill=_LINES)
            top = self._block(top + _MARGIN // 2, block)
        return top + _MARGIN

    def _how(self) -> str:
        columns, strengths = self._sheet.columns, self._sheet.strengths
        column, strength = self._heading(columns[-1]), _strength(strengths[-1])
        text = self._words["how"].format(column=column[:1].lower() + column[1:], strength=strength)
        marked = any(one.suggested for one in columns)
        return f"{text} {self._words['mark']}" if marked else text

    def _block(self, top: int, block: Block) -> int:
        top = self._paragraph(top, block.prompt, self._large, _INK) + _GAP
        left = _MARGIN
        if self._has_base:
            left += self._cell[0] + _GAP
        left += self._labels
        notes = [self._note(column) for column in self._sheet.columns]
        for number, (column, note) in enumerate(zip(self._sheet.columns, notes, strict=True)):
            at = left + number * (self._cell[0] + _GAP)
            ink = _MARK if column.suggested else _INK
            self._text((at, top), self._heading(column), self._normal, ink, self._cell[0])
            self._text((at, top + _line(self._normal)), note, self._small, _FAINT, self._cell[0])
        top += _line(self._normal) + (_line(self._small) if any(notes) else 0) + _GAP // 2
        if self._has_base:
            # In the middle, as it has no strength.
            below = (len(block.cells) - 1) * (self._cell[1] + _GAP) // 2
            self._paste(block.base, (_MARGIN, top + below))
            above = top + below - _line(self._normal) - _GAP // 2
            self._text((_MARGIN, above), self._words["without"], self._normal, _INK, self._cell[0])
        for strength, cells in zip(self._sheet.strengths, block.cells, strict=True):
            marked = strength == self._sheet.suggested_strength
            self._strength((left - self._labels, top), strength)
            for number, (column, cell) in enumerate(zip(self._sheet.columns, cells, strict=True)):
                at = left + number * (self._cell[0] + _GAP)
                self._paste(cell, (at, top), framed=marked and column.suggested)
            top += self._cell[1] + _GAP
        return top

    def _strength(self, at: tuple[int, int], strength: float) -> None:
        top = at[1] + max(0, self._cell[1] - _line(self._small) - _line(self._large)) // 2
        self._text((at[0] + _GAP, top), self._words["strength"], self._small, _FAINT, self._labels)
        self._text((at[0] + _GAP, top + _line(self._small)), _strength(strength), self._large, _INK, self._labels)

    def _heading(self, column: Column) -> str:
        return column.name or self._words["epoch"].format(column.epoch)

    def _note(self, column: Column) -> str:
        words = self._words
        # There is no room for more beside the word that matters most.
        step = column.step if not column.suggested else None
        parts = [
            words["step"].format(step) if step is not None else "",
            words["suggested"] if column.suggested else "",
            words["last"] if column.last else "",
        ]
        return " · ".join(filter(None, parts))

    def _paragraph(self, top: int, text: str, size: int, ink: str) -> int:
        """Lines over the whole width; returns where the next may begin."""
        if not text:
            return top
        chosen = fonts.font(text, size)
        for line in fonts.wrapped(fonts.drawable(text, chosen), chosen, self._size - 2 * _MARGIN):
            self._line_of((_MARGIN, top), line, chosen, ink)
            top += _line(size)
        return top

    def _text(self, at: tuple[int, int], text: str, size: int, ink: str, width: float) -> None:
        chosen = fonts.font(text, size)
        for line in fonts.wrapped(fonts.drawable(text, chosen), chosen, width, most=1):
            self._line_of(at, line, chosen, ink)

    def _line_of(self, at: tuple[int, int], text: str, chosen: Font, ink: str) -> None:
        self._pen.text(at, text, fill=ink, font=chosen)

    def _width(self, text: str, size: int) -> float:
        chosen = fonts.font(text, size)
        return chosen.getlength(fonts.drawable(text, chosen))

    def _paste(self, path: Path | None, at: tuple[int, int], *, framed: bool = False) -> None:
        width, height = self._cell
        if at[1] >= self._canvas.height:
            # While it is only measured.
            return
        box = (at[0], at[1], at[0] + width - 1, at[1] + height - 1)
        if path is None:
            return
        image = _fitting(path, self._cell)
        self._canvas.paste(image, (at[0] + (width - image.width) // 2, at[1] + (height - image.height) // 2))
        # A white image, as shops have them, would have no edges.
        self._pen.rectangle(box, outline=_MARK if framed else _LINES, width=_FRAME if framed else 1)


def _cell_size(sheet: Sheet, across: int) -> tuple[int, int]:
    """Width and height of a cell in pixels, in the proportions of the images."""
    width, height = _largest([path for block in sheet.blocks for row in block.cells for path in row])
    cells = across * len(sheet.strengths) * len(sheet.blocks)
    room = min(
        _LARGEST_CELL / max(width, height),
        math.sqrt(_MOST_PIXELS / (cells * width * height)),
        _MOST_WIDTH / (across * width),
    )
    room = max(room, _SMALLEST_CELL / max(width, height))
    whole = max(1, _READABLE // max(width, height))
    # Enlarged by a whole number: small images stay as sharp as they are.
    scale = min(room, 1.0) if whole == 1 else min(whole, max(1, int(room)))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _largest(paths: Sequence[Path]) -> tuple[int, int]:
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.size)
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _fitting(path: Path, cell: tuple[int, int]) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = min(cell[0] / image.width, cell[1] / image.height)
    if scale == 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def _strength(value: float) -> str:
    """A strength with at least one decimal: 1.0."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _line(size: int) -> int:
    """Height of a line of text; Chinese fonts need more than others."""
    return round(size * 1.5)
