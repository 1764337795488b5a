"""Images side by side on one PNG, with a label for each row and column."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from .. import files

_GAP, _LINE, _LABEL = 8, 14, 160
_BACKGROUND, _INK = (255, 255, 255), (32, 32, 32)
_CHARACTERS = 24


def write_sheet(path: Path, rows: Sequence[Sequence[Path]], columns: Sequence[str], labels: Sequence[str]) -> Path:
    """Write the images of each row beside its label, the columns' labels above; returns ``path``."""
    images = [[_opened(cell) for cell in row] for row in rows]
    width = max(image.width for row in images for image in row)
    heights = [max(image.height for image in row) for row in images]
    top = _LINE + 2 * _GAP
    sheet = Image.new(
        "RGB",
        (_LABEL + len(columns) * (width + _GAP) + _GAP, top + sum(heights) + len(rows) * _GAP),
        _BACKGROUND,
    )
    pen = ImageDraw.Draw(sheet)
    for column, text in enumerate(columns):
        pen.text((_LABEL + column * (width + _GAP), _GAP), text, fill=_INK)
    for row, label, height in zip(images, labels, heights, strict=True):
        for number, line in enumerate(textwrap.wrap(label, _CHARACTERS)[: max(1, height // _LINE)]):
            pen.text((_GAP, top + number * _LINE), line, fill=_INK)
        for column, image in enumerate(row):
            sheet.paste(image, (_LABEL + column * (width + _GAP), top))
        top += height + _GAP
    with files.replacing(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
