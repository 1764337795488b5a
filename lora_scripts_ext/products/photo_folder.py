"""A folder of product photos as a product list: a photo a product, with its mask and its description beside it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..captions import text_file
from ..captions.text_file import Unknown
from ..images import folder as image_folder
from .row import Row, Rows

HEADERS = ("sku", "photo", "mask", "category", "description")
_MASK = "-mask"


def read(folder: Path, encoding: str = "") -> Rows:
    """A row for every photo: its name is the SKU, ``NAME-mask.png`` its mask, ``NAME.txt`` its description, and the
    sub-folder that it lies in its category. Images that are not read are rows with a doubt.

    Raises:
        UserError: there is no such folder.
    """
    names, skipped = image_folder.scan(folder, "products")
    stems = {_stem(name) for name in names}
    masks = {_stem(name)[: -len(_MASK)]: name for name in names if _stem(name).endswith(_MASK)}
    masks = {stem: name for stem, name in masks.items() if stem in stems}
    photos = [name for name in names if name not in masks.values()]
    yield Row(0, list(HEADERS))
    for number, name in enumerate(photos, 1):
        path = PurePosixPath(name)
        category = "" if path.parent == PurePosixPath() else path.parent.as_posix()
        description, doubt = _description(folder / f"{_stem(name)}.txt", encoding)
        yield Row(number, [path.stem, name, masks.get(_stem(name), ""), category, description], doubt)
    for number, one in enumerate(skipped, len(photos) + 1):
        yield Row(number, [one.name], f"names {one.name}: it {one.reason}")


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return (path.parent / path.stem).as_posix()


def _description(path: Path, encoding: str) -> tuple[str, str]:
    """What a photo's text file says, and why it cannot be read."""
    if not path.is_file():
        return "", ""
    try:
        return " ".join(text_file.read_text(path, encoding).split()), ""
    except (OSError, Unknown) as error:
        return "", f"has a text file, {path.name}, that cannot be read ({error}); save it as UTF-8"
