"""What is finished for a channel: an approved candidate, or the product's own photo cut out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil, floor
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from .. import json_text, time_text
from ..channels import framing, law
from ..channels.channel import Channel
from ..channels.finish import Finished, finish
from ..errors import UserError
from ..keeping import full_size
from ..keeping.cutout import Cutout, cut_out
from ..marks.c2pa import Credentials
from ..marks.iptc import COMPOSITE
from ..marks.label import Label
from . import decisions
from .candidates import Candidate, Crop
from .product import CatalogueProduct
from .product_files import ProductFiles
from .settings import Settings
from .store import Catalogue

_DIGITS = 32


class Picture(Protocol):
    """Something that can be finished."""

    @property
    def name(self) -> str:
        """What tells its file from those of others of the product."""

    @property
    def stamp(self) -> Any:
        """The same value, ready for JSON, for two pictures whose finished images would be the same."""

    def entry(self) -> dict[str, Any]:
        """What a manifest says of it."""

    def finish(self, channel: Channel, path: Path, credentials: Credentials | None) -> Finished:
        """Write its finished image, signed where there are ``credentials``.

        Raises:
            UserError: a file cannot be read, or cannot be made fit.
        """


@dataclass(frozen=True)
class CandidatePicture:
    """An approved candidate; see :class:`Picture`. For a channel that wants no scene the product is cut out of it.

    Attributes:
        photo: of its product; where that is kept in it, a larger image has all of the photo's detail.
    """

    catalogue: Catalogue
    settings: Settings
    candidate: Candidate
    photo: PhotoPicture | None = None

    @property
    def name(self) -> str:
        """Its number."""
        return f"{self.candidate.number:03d}"

    @property
    def stamp(self) -> Any:
        """Its image, the part that is used, and whether that bears parameters and a mark."""
        settings = self.settings
        own = [self.candidate.sha256, self.candidate.crop, settings.market, settings.visible_mark, self._parameters]
        return [*own, *([] if self._kept is None else self._kept.hashes)]

    def entry(self) -> dict[str, Any]:
        """See :class:`Picture`."""
        facts, decision = self.candidate.facts, decisions.approval(self.catalogue, self.candidate)
        return {
            "candidate": self.candidate.number, "seed": self.candidate.seed, "prompt": facts["prompt"],
            "negative": facts["negative"], "base_model": facts["base_model"], "loras": facts["loras"],
            "label": {"source": facts["source"], "producer": facts["producer"], "produce_id": facts["produce_id"]},
            "approval": {"by": decision.who, "at": time_text.iso(decision.created)} if decision else None,
        }  # fmt: skip

    def finish(self, channel: Channel, path: Path, credentials: Credentials | None) -> Finished:
        """See :class:`Picture`."""
        facts, file = self.candidate.facts, self.candidate.path(self.catalogue)
        try:
            with Image.open(file) as image:
                image.load()
        except OSError as error:
            raise UserError(f"{file}: this candidate cannot be read ({error}); draw it again.") from error
        scene = channel.background == "any"
        image, enlarged = self._with_detail(image, channel) if scene else (image, 1)
        answer = "without" if self.settings.visible_mark == "ask" else self.settings.visible_mark
        return finish(
            image,
            channel,
            mask=None if scene else _mask(file),
            crop=_pixels(self.candidate.crop, image.size),
            label=Label(facts["source"], facts["producer"], facts["produce_id"]),
            parameters=self._parameters,
            out=path,
            mark=law.draws_mark(channel, self.settings.market, answer),
            enlarged=enlarged,
            credentials=credentials,
        )

    def _with_detail(self, image: Image.Image, channel: Channel) -> tuple[Image.Image, int]:
        """As large as the channel shows it or as the photo of a kept product is; and how many times it is enlarged."""
        if self._kept is None:
            return image, 1
        left, top, right, bottom = _pixels(self.candidate.crop, image.size) or (0, 0, *image.size)
        factor = framing.enlargement(channel, (right - left, bottom - top))
        return full_size.enlarged(image, self._kept.cutout, factor)

    @property
    def _kept(self) -> PhotoPicture | None:
        """The photo, where it is the one that is kept in this candidate."""
        drawn_with = self.candidate.facts.get("photo")
        return self.photo if self.photo and drawn_with == list(self.photo.hashes) else None

    @property
    def _parameters(self) -> str | None:
        return self.candidate.facts["parameters"] if self.settings.write_parameters else None


@dataclass(frozen=True)
class PhotoPicture:
    """A product's photo, cut out; see :class:`Picture`. It has no visible mark, as nothing of it is drawn.

    Attributes:
        approved: entry of the candidate whose approval counts for it.
    """

    photo: Path
    mask: Path | None
    hashes: tuple[str, ...]
    settings: Settings
    approved: dict[str, Any]

    @property
    def name(self) -> str:
        """What stands in place of a number."""
        return "photo"

    @property
    def stamp(self) -> Any:
        """Its files."""
        return [*self.hashes, self.settings.producer]

    def entry(self) -> dict[str, Any]:
        """See :class:`Picture`: without seed, prompt and models, as it was not drawn."""
        label = self._label()
        return {
            "candidate": None, "seed": None, "prompt": "", "negative": "", "base_model": {"name": "", "sha256": ""},
            "loras": [], "label": {"source": label.source, "producer": label.producer, "produce_id": label.produce_id},
            "approval": self.approved["approval"],
        }  # fmt: skip

    def finish(self, channel: Channel, path: Path, credentials: Credentials | None) -> Finished:
        """See :class:`Picture`."""
        return finish(
            self.cutout.pixels, channel, mask=self.cutout.alpha, label=self._label(), out=path, mark=False,
            credentials=credentials,
        )  # fmt: skip

    @cached_property
    def cutout(self) -> Cutout:
        """The product.

        Raises:
            UserError: it cannot be cut out.
        """
        return cut_out(self.photo, self.mask)

    def _label(self) -> Label:
        digest = hashlib.sha256(json_text.dumps(self.stamp).encode()).hexdigest()
        return Label(COMPOSITE, self.settings.producer, digest[:_DIGITS])


def photo_of(
    product: CatalogueProduct, settings: Settings, approved: dict[str, Any], readable: Callable[[str], Path]
) -> PhotoPicture | None:
    """The photo of a product that is kept; None where it is not, or has none.

    Raises:
        UserError: it cannot be read.
    """
    if not settings.keep_product or not product.product.photo:
        return None
    files = ProductFiles.of(product, Path(settings.folder), readable)
    return PhotoPicture(files.photo, files.mask, tuple(files.hashes()[:2]), settings, approved) if files.photo else None


def made_from(picture: Picture, channel: Channel, signer: str) -> str:
    """The same text for two finished images with the same bytes, but for the time of a signature.

    Args:
        picture: theirs.
        channel: likewise.
        signer: tells the certificate from others; empty where files are not signed.
    """
    text = json_text.dumps([picture.stamp, asdict(channel), *filter(None, [signer])])
    return hashlib.sha256(text.encode()).hexdigest()


def _mask(candidate: Path) -> Image.Image | None:
    """Of the product in a candidate; None where it cannot be cut out."""
    try:
        return cut_out(candidate).alpha
    except UserError:
        return None


def _pixels(crop: Crop | None, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of an image of this size, at least one pixel wide and high."""
    if crop is None:
        return None
    (left, right), (top, bottom) = (
        (floor(first * side), max(ceil(last * side), floor(first * side) + 1))
        for first, last, side in ((crop[0], crop[2], size[0]), (crop[1], crop[3], size[1]))
    )
    return left, top, right, bottom
