"""The visible mark: "AI-generated" in a corner of the image, legible on whatever lies behind it."""

from __future__ import annotations

import math
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from ..errors import UserError
from ..images import fonts
from . import iptc
from .iptc import Source

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
CORNERS: tuple[Corner, ...] = ("top-left", "top-right", "bottom-left", "bottom-right")
#: height of the letters over the shorter side of the image that GB 45438-2025 asks for at least
HEIGHT = 0.05
_INK = (255, 255, 255, 255)
# White on it has a contrast of 5.7 on a white image, by WCAG 2.1, and more on every other.
_PLATE = (0, 0, 0, 153)
# Of the height of the letters.
_PADDING, _MARGIN, _ROUNDING = 0.45, 0.4, 0.3
# Neither rises above the others nor reaches below the line.
_LETTER = "A"


def text(language: str, source: Source) -> str:
    """The mark's words in a language such as ``zh``, ``zh-CN`` or ``en``; English in any other."""
    if language.lower().partition("-")[0] == "zh":
        return "AI 合成" if source == iptc.COMPOSITE else "AI生成"
    return "AI-generated"


def draw(image: Image.Image, text: str, corner: Corner = "bottom-right") -> Image.Image:
    """``image``, RGB or RGBA, with ``text`` on a dark plate in a corner; its capital letters have ``HEIGHT``.

    Raises:
        UserError: no font of this system has the characters, or the image is too narrow for the words.
    """
    font = _font(text, math.ceil(HEIGHT * min(image.size)))
    letter = _box(_LETTER, font)
    height = letter[3] - letter[1]
    left, top, right, bottom = _box(text, font)
    padding, margin = round(_PADDING * height), round(_MARGIN * height)
    width, tall = right - left + 2 * padding, bottom - top + 2 * padding
    if width + 2 * margin > image.width or tall + 2 * margin > image.height:
        raise UserError(
            f"The words {text!r} need {width + 2 * margin} x {tall + 2 * margin} pixels, and the image has "
            f"{image.width} x {image.height}; take shorter words, or a format that is less narrow."
        )
    x = margin if corner.endswith("left") else image.width - margin - width
    y = margin if corner.startswith("top") else image.height - margin - tall
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    pen.rounded_rectangle((x, y, x + width - 1, y + tall - 1), round(_ROUNDING * height), fill=_PLATE)
    pen.text((x + padding - left, y + padding - top), text, font=font, fill=_INK)
    marked = Image.alpha_composite(image.convert("RGBA"), layer)
    return marked if image.mode == "RGBA" else marked.convert("RGB")


def _font(text: str, height: int) -> ImageFont.FreeTypeFont:
    """The smallest font whose capital letters are at least ``height`` pixels high."""
    if not text.isascii() and not fonts.has_chinese():
        raise UserError(
            f"This system has no font with Chinese characters for the mark {text!r}; install one, such as Noto Sans "
            "CJK, or set the language of the mark to en."
        )
    size = height
    while True:
        font = fonts.font(text, size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise UserError(
                f"This system has no font for the mark {text!r} that can be enlarged; install one, such as DejaVu Sans."
            )
        _, top, _, bottom = _box(_LETTER, font)
        if bottom - top >= height:
            return font
        size += 1


def _box(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int, int, int]:
    """What the letters cover, in whole pixels."""
    left, top, right, bottom = font.getbbox(text)
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
