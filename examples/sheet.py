"""A contact sheet of a story's images: a row a product, a column a channel or a style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lora_scripts_ext import files

CELL, MARGIN, HEADER = 128, 6, 22
_COLOURS = 256

Row = tuple[str, Sequence[Path | None]]


def write(path: Path, columns: Sequence[str], rows: Sequence[Row], name_width: int = 90) -> Path:
    """Write a PNG: every image whole in a cell; where there is none, a dash.

    Args:
        path: of the PNG.
        columns: what stands above them.
        rows: what stands before each, and its images.
        name_width: in pixels, for what stands before a row.
    """
    step = CELL + MARGIN
    sheet = Image.new("RGB", (name_width + step * len(columns), HEADER + step * len(rows)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for column, title in enumerate(columns):
        pen.text((name_width + column * step, MARGIN), title, fill="black", font=font)
    for row, (name, images) in enumerate(rows):
        top = HEADER + row * step
        pen.text((MARGIN, top + CELL // 2 - MARGIN), name, fill="black", font=font)
        for column, image in enumerate(images):
            left = name_width + column * step
            if image is None:
                pen.text((left + CELL // 2, top + CELL // 2 - MARGIN), "-", fill="grey", font=font)
            else:
                cell = _cell(image)
                sheet.paste(cell, (left + (CELL - cell.width) // 2, top + (CELL - cell.height) // 2))
    with files.replacing(path) as temporary:
        sheet.quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(temporary, format="PNG", optimize=True)
    return path


def _cell(path: Path) -> Image.Image:
    """The image on a checked ground where it is transparent, with a thin line around it."""
    with Image.open(path) as image:
        image = image.convert("RGBA")
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", image.size, (225, 225, 225, 255))
    cell.alpha_composite(image)
    ImageDraw.Draw(cell).rectangle((0, 0, cell.width - 1, cell.height - 1), outline=(215, 215, 215))
    return cell.convert("RGB")
