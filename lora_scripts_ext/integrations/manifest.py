"""The manifest of a catalogue's finished images, as far as shops' systems need it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError

_LARGEST = 256 * 1024 * 1024
_NEEDED = ("sku", "file", "sha256")
_TEXTS = ("role", "channel")
_NUMBERS = ("position", "width", "height")
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


@dataclass(frozen=True)
class Place:
    """Where an image stands among those of a shop; another image in the same place replaces it."""

    sku: str
    channel: str
    role: str
    position: int

    @property
    def key(self) -> str:
        """The same text for the same place."""
        return json.dumps([self.sku, self.channel, self.role, self.position], ensure_ascii=False)

    @classmethod
    def of(cls, key: str) -> Place:
        """The place of a :attr:`key`."""
        return cls(*json.loads(key))


@dataclass(frozen=True)
class Image:
    """A finished image.

    Attributes:
        path: of its file.
        place: its ``position`` is that among the images of its product, the main one first.
        alt: text by locale.
        values: all that the manifest says of it.
    """

    path: Path
    place: Place
    width: int
    height: int
    sha256: str
    alt: Mapping[str, str]
    values: Mapping[str, Any]

    @property
    def sku(self) -> str:
        """Of its product."""
        return self.place.sku

    @property
    def position(self) -> int:
        """Of its place."""
        return self.place.position

    @property
    def key(self) -> str:
        """Of its place."""
        return self.place.key

    @cached_property
    def mark(self) -> str:
        """Sixteen characters that only this image in this place has, by which it is found again in a system."""
        return hashlib.sha256(f"{self.key}{self.sha256}".encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """A name of lower-case letters and digits that ends with the mark."""
        stem = re.sub("[^a-z0-9]+", "-", f"{self.sku}-{self.place.role}-{self.position}".lower()).strip("-")
        return f"{stem[:80]}-{self.mark}{self.path.suffix.lower()}"

    @property
    def content_type(self) -> str:
        """Its MIME type."""
        return _TYPES[self.path.suffix.lower()]

    def text(self, language: str) -> str:
        """The alternative text in a language, else in any."""
        fitting = [text for locale, text in self.alt.items() if locale.lower().startswith(language.lower())]
        return next(iter([*fitting, *self.alt.values()]), "")

    def content(self) -> bytes:
        """The file, which must still be the one that was exported.

        Raises:
            UserError: it is not there, or another one.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{self.sku}: {self.path} cannot be read ({error.strerror}); export the catalogue again."
            ) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{self.sku}: {self.path} is not the file that was exported; export the catalogue again.")
        return content


@dataclass(frozen=True)
class Manifest:
    """What can be sent, and sentences on what cannot.

    Attributes:
        places: keys of all that is listed, whether it can be sent or not, and of whatever channel.
    """

    images: list[Image]
    problems: list[str]
    places: frozenset[str]


def read(path: Path, channels: tuple[str, ...] = ()) -> Manifest:
    """The approved images of ``manifest.json``, of some channels or of all.

    Raises:
        UserError: it is no manifest.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: it is larger than {_LARGEST >> 20} MiB; name the manifest.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: it cannot be read as a manifest ({error}); name the manifest.json.") from error
    listed = data.get("images") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise UserError(f"{path}: it has no list of images; name the manifest.json of an exported catalogue.")
    images: dict[str, Image] = {}
    problems: list[str] = []
    places: set[str] = set()
    for number, values in enumerate(listed, 1):
        unusable = _unusable(values)
        if not unusable:
            places.add(_place(values).key)
        if channels and isinstance(values, dict) and values.get("channel") not in channels:
            continue
        problem = unusable or _problem(values, path.parent)
        image = None if problem else _image(values, path.parent)
        if image is None:
            problems.append(f"image {number} of the manifest {problem}.")
        elif image.key in images:
            problems.append(f"image {number} of the manifest stands in the place of another one; give it a position.")
        else:
            images[image.key] = image
    return Manifest(list(images.values()), problems, frozenset(places))


def _image(values: dict[str, Any], folder: Path) -> Image:
    alt = values.get("alt") or {}
    return Image(
        path=folder / values["file"],
        place=_place(values),
        width=values.get("width") or 0,
        height=values.get("height") or 0,
        sha256=values["sha256"],
        alt={str(locale): str(text) for locale, text in alt.items()},
        values=values,
    )


def _place(values: Mapping[str, Any]) -> Place:
    return Place(values["sku"], values.get("channel") or "", values.get("role") or "", values.get("position") or 0)


def _unusable(values: Any) -> str:
    """Why an entry is none of an image; it goes after its number."""
    if not isinstance(values, dict):
        return "is no object; export the catalogue again"
    for name in (*_NEEDED, *_TEXTS):
        if not isinstance(values.get(name) or "", str) or (name in _NEEDED and not values.get(name)):
            return f"has no {name}; export the catalogue again"
    for name in _NUMBERS:
        if not isinstance(values.get(name) or 0, int):
            return f"has {name} that is no whole number; export the catalogue again"
    if not isinstance(values.get("alt") or {}, dict):
        return "has alt that is no text by locale; export the catalogue again"
    return ""


def _problem(values: Mapping[str, Any], folder: Path) -> str:
    """Why an image cannot be sent; it goes after its number."""
    path = folder / values["file"]
    if path.suffix.lower() not in _TYPES:
        return f"is {path.name}, which is neither JPEG, PNG nor WebP; export it in another format"
    if not path.resolve().is_relative_to(folder.resolve()):
        return f"is {values['file']}, outside of the folder of the manifest; export the catalogue again"
    approval = values.get("approval")
    # Who it was may not be known.
    if not isinstance(approval, dict) or not (approval.get("by") or approval.get("at")):
        return f"({values['sku']}) was approved by nobody; approve it first"
    return ""
