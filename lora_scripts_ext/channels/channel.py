"""What images a sales channel wants: a data file for each, those that ship and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import config_file, files
from ..errors import UserError
from ..marks.formats import FORMATS, TRANSPARENT, Format
from .keys import Keys, Pair, Range

_FOLDER = Path(__file__).resolve().parents[2] / "configs" / "channels"
_SUFFIX = ".yaml"
Background = Literal["white", "transparent", "any"]
VisibleMark = Literal["required", "forbidden", "allowed"]
_BACKGROUNDS: tuple[Background, ...] = ("white", "transparent", "any")
_VISIBLE_MARKS: tuple[VisibleMark, ...] = ("required", "forbidden", "allowed")
_KEYS = (
    "title", "source", "date", "note", "size", "aspect", "product_share", "background", "format", "quality",
    "weight_kb", "visible_mark", "role", "position", "languages",
)  # fmt: skip
_HEAVIEST = 100_000


@dataclass(frozen=True)
class Size:
    """How many pixels: exactly ``low``, which is ``high`` then, too; between them; or a width with any height.

    Attributes:
        low: the least width and height.
        high: the most; None for no limit.
        width: of an image with any height; 0 where ``low`` and ``high`` count.
    """

    low: Pair = (1, 1)
    high: Pair | None = None
    width: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether there is but one size."""
        return self.low == self.high


@dataclass(frozen=True)
class Channel:
    """A sales channel's demands on an image.

    Attributes:
        name: of its file, without the extension.
        title, source, date, note: for people: what it is, where the figures are from and of when, what else counts.
        aspect: width to height; None for that of the candidate.
        product_share: the product's extent over the frame's, along the side that it fills more.
        background: white everywhere around the product, nothing there, or anything.
        quality: from 1 to 100, of a JPEG or WebP.
        weight_kb: of the file, in kilobytes. It holds for kilobytes of 1000 and of 1024 bytes.
        visible_mark: whether "AI-generated" must, may or must not stand on the image.
        role, position: for the manifest.
        languages: of its texts, the first one that of the visible mark.
    """

    name: str
    title: str
    source: str
    date: str
    note: str
    size: Size
    aspect: Pair | None
    product_share: Range
    background: Background
    format: Format
    quality: Range
    weight_kb: Range
    visible_mark: VisibleMark
    role: str
    position: int
    languages: tuple[str, ...]

    @property
    def least_bytes(self) -> int:
        """The lightest file that counts as heavy enough."""
        return round(self.weight_kb.low * 1024)

    @property
    def most_bytes(self) -> int:
        """The heaviest file that counts as light enough."""
        return round(self.weight_kb.high * 1000)


def names() -> list[str]:
    """The channels that ship."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}"))


def load(name_or_path: str) -> Channel:
    """A channel that ships, by its name, or one in a YAML file of the user's own.

    Raises:
        UserError: there is none, or a key of its file is wrong.
    """
    shipped = names()
    written = files.pasted_path(name_or_path)
    if written in shipped:
        path = _FOLDER / f"{written}{_SUFFIX}"
    else:
        path = Path(written).expanduser()
        if not written or not path.is_file():
            raise UserError(
                f"channel {name_or_path!r}: there is none of this name and no such file; the channels are "
                f"{', '.join(shipped)}, or name a YAML file."
            )
    return from_dict(config_file.parse(config_file.read_text(path), str(path)), path.stem, str(path))


def from_dict(values: Mapping[str, Any], name: str, where: str) -> Channel:
    """The channel of these keys, which ``where`` names the origin of.

    Raises:
        UserError: a key is missing, unknown or wrong, or two contradict each other.
    """
    keys = Keys(values, where)
    keys.only(_KEYS)
    size = _size(keys, where)
    channel = Channel(
        name=name,
        title=keys.text("title"),
        source=keys.text("source"),
        date=keys.text("date"),
        note=keys.text("note", ""),
        size=size,
        aspect=size.low if size.is_exact else keys.pair("aspect"),
        product_share=keys.range("product_share", 0, 1),
        background=keys.choice("background", _BACKGROUNDS, "any"),
        format=keys.choice("format", tuple(FORMATS)),
        quality=keys.range("quality", 1, 100),
        weight_kb=keys.range("weight_kb", 0, _HEAVIEST),
        visible_mark=keys.choice("visible_mark", _VISIBLE_MARKS),
        role=keys.text("role"),
        position=keys.count("position", 1),
        languages=keys.texts("languages", ("en",)),
    )
    _check_together(channel, keys, where)
    return channel


def _size(keys: Keys, where: str) -> Size:
    inner = keys.inner("size")
    if inner is None:
        raise UserError(f"{where}: size is missing; add one such as size: {{exact: [800, 800]}}.")
    inner.only(("exact", "min", "max", "width"))
    exact, low, high, width = inner.pair("exact"), inner.pair("min"), inner.pair("max"), inner.side("width")
    if sum(one is not None for one in (exact, low, width)) != 1 or (high is not None and low is None):
        raise UserError(f"{where}: size needs one of exact, min (and max, if there is one) and width.")
    if exact is not None:
        return Size(exact, exact)
    if low is not None:
        if high is not None and (high[0] < low[0] or high[1] < low[1]):
            raise UserError(f"{where}: size: max is smaller than min; exchange them.")
        return Size(low, high)
    return Size(width=width or 0)


def _check_together(channel: Channel, keys: Keys, where: str) -> None:
    if channel.background == "transparent" and channel.format not in TRANSPARENT:
        raise UserError(
            f"{where}: format is {channel.format}, which has no transparency, and background is transparent; set "
            f"format to {' or '.join(TRANSPARENT)}."
        )
    if (channel.size.is_exact or channel.size.width) and keys.pair("aspect") is not None:
        raise UserError(f"{where}: aspect goes with a min size only; leave it out.")
