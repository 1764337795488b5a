"""Captions from file and folder names, which need no model: ``phones/03_black-iphone_13.jpg`` says a lot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from ..captions.fields import Fields
from .base import CaptionInput

_CAMERA = re.compile(
    r"^(img|dsc[nf]?|dcim|pxl|image|photo|pic|picture|screenshot|wechat ?img|mmexport|untitled)$", re.I
)
_NOISE = re.compile(r"^(\d+|[0-9a-f]{8,}|\d{4}([-.]?\d{2}){2}|copy|final|edit(ed)?|new|v\d+|\(\d+\))$", re.I)
_REPEATS = re.compile(r"^\d{1,4}_(?=\S)")
_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SPLIT = re.compile(r"[\s_]+|-{1,2}")
_STORAGE_FOLDERS = frozenset(
    {"pictures", "images", "photos", "train", "training", "data", "dataset", "raw", "new", "upload", "uploads"}
)
_VIEWS = {
    "front": "front view", "back": "back view", "rear": "rear view", "side": "side view", "left": "left side view",
    "right": "right side view", "top": "top view", "bottom": "bottom view", "detail": "close-up", "closeup": "close-up",
    "macro": "close-up", "angle": "three-quarter view",
    "正面": "正面", "背面": "背面", "侧面": "侧面", "细节": "细节",
}  # fmt: skip


class FileNames:
    """Reads the file's name as the subject, views as scene, and falls back on the folder's name."""

    name = "names"
    looks = False
    batch = 256

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """The fields of each image, from its name only."""
        return [read(one.name) for one in images]

    def close(self) -> None:
        """Nothing is held."""


def read(name: str) -> Fields:
    """The fields of an image's name, which is relative to the dataset's folder, with forward slashes."""
    path = PurePosixPath(name)
    words = _words(path.stem)
    views = tuple(_VIEWS[word.casefold()] for word in words if word.casefold() in _VIEWS)
    subject = " ".join(word for word in words if word.casefold() not in _VIEWS)
    kinds = [kind for kind in map(_folder, path.parts[:-1]) if kind]
    if not subject:
        return Fields(subject=kinds[-1] if kinds else "", attributes=views)
    attributes = tuple(kind for kind in kinds[-1:] if kind.casefold() not in subject.casefold())
    return Fields(subject=subject, attributes=(*attributes, *views))


def _folder(part: str) -> str:
    """A folder's name as words, without kohya's repeats; empty for one that only stores things."""
    words = _words(_REPEATS.sub("", part))
    return "" if all(word.casefold() in _STORAGE_FOLDERS for word in words) else " ".join(words)


def _words(text: str) -> list[str]:
    """The words of a name, without what cameras and people count with."""
    words = [word for word in _SPLIT.split(_WORD_BORDER.sub(" ", text)) if word]
    camera = bool(words) and _CAMERA.match(words[0])
    if camera:
        return [word for word in words[1:] if not any(letter.isdigit() for letter in word) and not _NOISE.match(word)]
    remaining = words
    # A number inside a name belongs to it ("iphone 13 pro"); at its ends it counts images.
    while remaining and _NOISE.match(remaining[0]):
        remaining = remaining[1:]
    while len(remaining) > 1 and _counts(remaining):
        remaining = remaining[:-1]
    return [word for word in remaining if not _NOISE.match(word) or word.isdigit()]


def _counts(words: list[str]) -> bool:
    """Whether the last word counts images instead of naming a thing: ``_02``, ``(3)``, ``copy``."""
    last = words[-1]
    if last.isdigit():
        return last.startswith("0") or len(last) >= 4
    return bool(_NOISE.match(last))
