"""How a person has rotated and cropped an image, whose file stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..errors import UserError
from .bucket import Size

Shares = tuple[float, float, float, float]
Box = tuple[int, int, int, int]

#: pixels on each side that a crop has to leave
LEAST_SIDE = 16
ROTATIONS = (0, 90, 180, 270)
# A millionth of the longest side that is read is less than a tenth of a pixel.
_DECIMALS = 6
_EDGES = 4
_TURN = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


@dataclass(frozen=True)
class Edit:
    """What is done to an image after it was turned as its EXIF asks: first it is rotated, then cropped.

    Attributes:
        rotate: degrees clockwise: 0, 90, 180 or 270.
        crop: left, top, right and bottom edge of what stays, as shares (0 to 1) of the rotated image; None: all of it.
    """

    rotate: int = 0
    crop: Shares | None = None

    def rotated(self, rotate: int) -> Edit:
        """Rotated by ``rotate`` degrees instead; what was cropped away stays away."""
        crop = self.crop
        if crop is not None:
            for _ in range((rotate - self.rotate) % 360 // 90):
                left, top, right, bottom = crop
                crop = 1 - bottom, left, 1 - top, right
            crop = _rounded(crop)
        return Edit(rotate, crop)

    def box(self, size: Size) -> Box:
        """What stays of an image of ``size``, in pixels of the rotated image; at least one pixel."""
        width, height = self._turned(size)
        if self.crop is None:
            return 0, 0, width, height
        left, right = _edges(self.crop[0], self.crop[2], width)
        top, bottom = _edges(self.crop[1], self.crop[3], height)
        return left, top, right, bottom

    def size(self, size: Size) -> Size:
        """Width and height that an image of ``size`` has then."""
        left, top, right, bottom = self.box(size)
        return right - left, bottom - top

    def apply(self, image: Image.Image) -> Image.Image:
        """The image rotated and cropped, pixel for pixel; itself where there is nothing to do."""
        rotated = image.transpose(_TURN[self.rotate]) if self.rotate else image
        return rotated if self.crop is None else rotated.crop(self.box(image.size))

    def smallest_share(self) -> float:
        """Of the image's width or height: the smaller share that the crop leaves, at least a thousandth."""
        if self.crop is None:
            return 1.0
        left, top, right, bottom = self.crop
        return max(0.001, min(right - left, bottom - top))

    def key(self) -> str:
        """The edit as a short text, which differs from that of every other edit; empty where nothing is done."""
        if self == UNEDITED:
            return ""
        return ",".join([str(self.rotate), *(f"{share:.{_DECIMALS}g}" for share in self.crop or ())])

    def _turned(self, size: Size) -> Size:
        return (size[1], size[0]) if self.rotate in (90, 270) else size


UNEDITED = Edit()


def checked(edit: Edit, rotate: Any = None, crop: Any = ...) -> Edit:
    """``edit`` with another rotation, another crop (None: without one), or both, whatever these values are.

    Raises:
        UserError: they are no rotation or no crop.
    """
    if rotate is not None:
        if isinstance(rotate, bool) or rotate not in ROTATIONS:
            raise UserError(
                f"rotate: {str(rotate)[:40]} is none of {', '.join(map(str, ROTATIONS))}; send one of them."
            )
        edit = edit.rotated(int(rotate))
    return edit if crop is ... else replace(edit, crop=_crop(crop))


def require_room(edit: Edit, size: Size, name: str) -> None:
    """Refuse a crop of the image ``name`` of ``size`` (upright) of which too little is left.

    Raises:
        UserError: a side would be shorter than ``LEAST_SIDE`` pixels.
    """
    width, height = edit.size(size)
    if edit.crop is not None and min(width, height) < LEAST_SIDE:
        raise UserError(
            f"crop: {width} x {height} pixels of {name} are too few; leave at least {LEAST_SIDE} on each side."
        )


def _crop(crop: Any) -> Shares | None:
    if crop is None:
        return None
    wrong = UserError(
        f"crop: {str(crop)[:80]} is no part of an image; send its left, top, right and bottom edge as shares from 0 to "
        "1 of the rotated image."
    )
    if not isinstance(crop, list | tuple) or len(crop) != _EDGES:
        raise wrong
    if not all(isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1 for share in crop):
        raise wrong
    left, top, right, bottom = _rounded(crop)
    if not (left < right and top < bottom):
        raise wrong
    return None if (left, top, right, bottom) == (0, 0, 1, 1) else (left, top, right, bottom)


def _rounded(crop: Sequence[float]) -> Shares:
    left, top, right, bottom = (round(float(share), _DECIMALS) for share in crop)
    return left, top, right, bottom


def _edges(low: float, high: float, side: int) -> tuple[int, int]:
    """Where a part of a side of ``side`` pixels begins and ends."""
    first = min(round(low * side), side - 1)
    return first, max(round(high * side), first + 1)
