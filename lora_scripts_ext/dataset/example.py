"""One image of the training set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..images.bucket import Size, View
from ..images.edit import UNEDITED, Edit


@dataclass(frozen=True)
class Example:
    """An image with its caption, and how it will be cut.

    Attributes:
        name: path relative to its folder, with forward slashes.
        caption: final text, trigger word included.
        variants: the captions a visit may use; only the caption itself unless captions are shuffled.
        class_variants: of each variant, the caption that is held at the base model's output meanwhile; empty where none
            is.
        repeats: visits per epoch; for regularisation images their relative share.
        width: pixels, upright and edited, as is ``height``.
        bucket: width and height it is trained at.
        resized: width and height it is resized to before the views are cut from it.
        mask: mask file, or None where the whole image counts or its alpha is the mask.
        edit: how a person has rotated and cropped the image, and so its mask.
    """

    path: Path
    name: str
    caption: str
    variants: tuple[str, ...]
    repeats: int
    regularisation: bool
    width: int
    height: int
    bucket: Size
    resized: Size
    views: tuple[View, ...]
    mask: Path | None
    edit: Edit = UNEDITED
    class_variants: tuple[str, ...] = ()
