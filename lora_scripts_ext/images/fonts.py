"""Text on an image: a font of this system that has its characters, and its lines."""

from __future__ import annotations

import functools
import re

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow looks for them by name where each system keeps its fonts.
_LATIN = ("DejaVuSans.ttf", "segoeui.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf")
_CHINESE = (
    "msyh.ttc", "msyh.ttf", "simhei.ttf", "simsun.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Medium.ttc",
    "STHeiti Light.ttc", "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf",
    "NotoSansSC-Regular.ttf", "SourceHanSansSC-Regular.otf", "SourceHanSansCN-Regular.otf", "wqy-microhei.ttc",
    "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "NotoSerifCJK-Regular.ttc", "uming.ttc",
)  # fmt: skip
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\uffef]")
# A line may end behind each of these characters, or between words.
_PIECES = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]|[^\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+|\s+")


def has_chinese() -> bool:
    """Whether this system has a font with Chinese characters."""
    return _named(_CHINESE, 16) is not None


def font(text: str, size: int) -> Font:
    """A font for ``text``, ``size`` pixels high; Pillow's own where the system has none."""
    found = _named(_CHINESE, size) if _WIDE.search(text) else None
    return found or _named(_LATIN, size) or _named(_CHINESE, size) or _own(size)


def drawable(text: str, chosen: Font) -> str:
    """``text`` with a question mark for what the font surely cannot show."""
    if not isinstance(chosen, ImageFont.FreeTypeFont):
        return text.encode("latin-1", "replace").decode("latin-1")
    return text if has_chinese() else _WIDE.sub("?", text)


def wrapped(text: str, chosen: Font, width: float, most: int = 3) -> list[str]:
    """``text`` in at most ``most`` lines of ``width`` pixels; what is left over is cut off. A word that is wider than a
    line is broken."""
    lines = [""]
    pieces = _PIECES.findall(" ".join(text.split()))
    for piece in (part for whole in pieces for part in _broken(whole, chosen, width)):
        if chosen.getlength(lines[-1] + piece) <= width or not lines[-1].strip():
            lines[-1] += piece
        else:
            lines.append(piece.lstrip())
    lines = [line.rstrip() for line in lines]
    kept = [_shortened(line, chosen, width) for line in lines[:most]]
    return kept if len(lines) <= most else [*kept[:-1], _shortened(f"{kept[-1]} …", chosen, width)]


def _broken(piece: str, chosen: Font, width: float) -> list[str]:
    """A piece of text in parts that fit on a line each, of at least one character."""
    if chosen.getlength(piece) <= width:
        return [piece]
    parts = [""]
    for character in piece:
        if parts[-1] and chosen.getlength(parts[-1] + character) > width:
            parts.append("")
        parts[-1] += character
    return parts


def _shortened(line: str, chosen: Font, width: float) -> str:
    """The line, or as much of it as fits."""
    end = "…" if isinstance(chosen, ImageFont.FreeTypeFont) else "..."
    line = line if end == "…" else line.replace("…", end)
    if chosen.getlength(line) <= width:
        return line
    while line and chosen.getlength(line + end) > width:
        line = line[:-1]
    return line.rstrip() + end


@functools.cache
def _named(names: tuple[str, ...], size: int) -> ImageFont.FreeTypeFont | None:
    for name in names:
        try:
            return ImageFont.truetype(name, size)
        except (OSError, ImportError):
            # Not on this system, or a Pillow without FreeType.
            continue
    return None


@functools.cache
def _own(size: int) -> Font:
    try:
        return ImageFont.load_default(size)
    except TypeError:
        # Before Pillow 10.1 it has one size.
        return ImageFont.load_default()
