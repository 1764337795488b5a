"""Which column of a caption table names the image, and which one is the caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..images.kinds import EXTENSIONS

#: names of the column with the image, the likelier ones first; as ``plain`` gives them
FILES = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image_file", "image_file_name",
    "image_filename", "image_name", "imagename", "img_path", "img_name", "image", "images", "img", "picture", "photo",
    "name", "key", "文件名", "文件", "图片",
)  # fmt: skip
#: names of the column with the caption
CAPTIONS = (
    "prompt", "prompts", "caption", "captions", "text", "description", "tags", "tag", "提示词", "描述", "说明", "标签",
)  # fmt: skip
_INDEX = re.compile(r"(unnamed: ?\d+)?", re.I)


def plain(name: str) -> str:
    """A column's name without differences that mean nothing: ``File Name`` is ``file_name``."""
    return re.sub(r"[\s_-]+", "_", name.strip().strip("\ufeff").casefold())


def looks_like_image(value: str) -> bool:
    """Whether a cell is the name of an image file."""
    end = value.strip().casefold()
    return any(end.endswith(extension) and len(end) > len(extension) for extension in EXTENSIONS)


def is_index(name: str) -> bool:
    """Whether a column is the unnamed index that pandas writes."""
    return _INDEX.fullmatch(name.strip()) is not None


def file_column(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """The column with the image: of those named so the first that holds image names, else any one that does."""
    names = [plain(name) for name in header]
    named = [names.index(name) for name in FILES if name in names]
    holding = [column for column in range(len(names)) if holds_images(rows, column)]
    both = [column for column in named if column in holding]
    return next(iter(both or named or holding), None)


def caption_columns(header: Sequence[str], file: int | None) -> list[int]:
    """The columns that are named as captions, the likeliest first."""
    names = [plain(name) for name in header]
    return [names.index(name) for name in CAPTIONS if name in names and names.index(name) != file]


def holds_images(rows: Iterable[Sequence[str]], column: int) -> bool:
    """Whether at least half of a column's cells that are filled name images."""
    cells = [row[column] for row in rows if column < len(row) and row[column].strip()]
    return bool(cells) and 2 * sum(map(looks_like_image, cells)) >= len(cells)
