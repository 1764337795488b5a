"""Approved candidates handed over: finished for every channel, with a manifest; the same decisions, the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import file_name, files
from ..channels import law
from ..channels.channel import Channel, load
from ..errors import UserError
from ..marks import c2pa
from ..marks.c2pa import Credentials
from ..marks.formats import EXTENSIONS
from ..models.weights import sha256
from . import candidates, fetching, manifest, pictures
from .candidates import Candidate
from .pictures import CandidatePicture, PhotoPicture, Picture
from .product import CatalogueProduct
from .settings import Settings
from .store import Catalogue

_WITHDRAWN = "withdrawn"
# Of a product there is one image in them.
_SINGLE = ("main", "white")
# In the folder of the products': what is no SKU.
_TAKEN = {_WITHDRAWN, "catalogue", manifest.NAME, manifest.TABLE}
_PAGE = 500
_DIGITS = 8
_WHAT = "finished images"


@dataclass
class Exported:
    """What an export has come to.

    Attributes:
        manifest: path of its JSON.
        images: how many finished images there are.
        written: how many of them were not there before.
        withdrawn: how many that were there are put aside.
        warnings: about finished images.
        refused: images that could not be finished, with the reason.
    """

    manifest: Path
    images: int = 0
    written: int = 0
    withdrawn: int = 0
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**vars(self), "manifest": str(self.manifest)}


def export(
    catalogue: Catalogue,
    folder: Path,
    channels: Sequence[str],
    *,
    undecided: bool = False,
    credentials: Credentials | None = None,
    readable: Callable[[str], Path] = Path,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
    check: Callable[[], None] = lambda: None,
) -> Exported:
    """Finish the approved candidates of all products, and write the manifest.

    What is there already is left alone. What was handed over before and is not any more is moved to ``withdrawn`` in
    the folder.

    Args:
        catalogue: theirs.
        folder: of the finished images: a folder for each SKU.
        channels: by name or file.
        undecided: also the first drawn candidate of each product that nobody has decided about.
        credentials: sign the images as C2PA wants it.
        readable: refuses, with a UserError, a path that may not be read.
        progress: is called with the images that are done and all of them.
        check: is called before each; what it raises ends the work.

    Raises:
        UserError: a channel, the credentials or the old manifest cannot be used, or the folder cannot be written.
    """
    if credentials is not None:
        c2pa.check(credentials)
    chosen = wanted(catalogue.settings(), channels)
    before = {one["file"]: one for one in manifest.read(folder)}
    work = _Work(catalogue, folder, chosen, before, credentials, readable)
    total = work.count(undecided)
    progress(0, total, _WHAT)
    images: list[dict[str, Any]] = []
    for product, approved in work.approved(undecided):
        check()
        images += work.finished(product, approved)
        progress(min(len(images), total), total, _WHAT)
    kept = {one["file"] for one in images}
    for name in sorted(before.keys() - kept):
        work.withdraw(name)
    manifest.write(folder, catalogue.settings().name, images)
    work.result.images = len(images)
    return work.result


def wanted(settings: Settings, names: Sequence[str]) -> list[Channel]:
    """The channels that images are finished for.

    Raises:
        UserError: there is no such channel, or nobody has said yet what counts where it contradicts the law.
    """
    if not names:
        raise UserError("channels: there is none to finish images for; name one, such as shopify.")
    found = [load(one) for one in names]
    collisions = {one.name: law.collision(one, settings.market) for one in found}
    for asked in filter(None, collisions.values()):
        if settings.visible_mark == "ask":
            answers = " ".join(f"{answer}: {text}" for answer, text in asked.answers.items())
            raise UserError(f"visible_mark: {asked.question} {answers} Set visible_mark to one of them.")
    return [one for one in found if collisions[one.name] is None or settings.visible_mark != "leave out"]


class _Work:
    """One export."""

    def __init__(
        self,
        catalogue: Catalogue,
        folder: Path,
        channels: Sequence[Channel],
        before: dict[str, dict[str, Any]],
        credentials: Credentials | None,
        readable: Callable[[str], Path],
    ) -> None:
        self._catalogue = catalogue
        self._settings = catalogue.settings()
        self._folder = folder
        self._channels = channels
        self._before = before
        self._credentials = credentials
        self._signer = sha256([credentials.certificate]) if credentials else ""
        self._readable = fetching.reading(catalogue, readable)
        self._folders: dict[str, str] = {}
        self.result = Exported(folder / manifest.NAME)

    def approved(self, undecided: bool) -> Iterator[tuple[CatalogueProduct, list[Candidate]]]:
        """The products of the list with the candidates that are handed over, in their order."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._catalogue.page(limit=_PAGE, cursor=cursor)
            own = candidates.of_products(self._catalogue, [one.id for one in page.products])
            for product in page.products:
                if chosen := _chosen(own[product.id], undecided):
                    yield product, chosen
            cursor = page.next

    def count(self, undecided: bool) -> int:
        """How many finished images there will be."""
        numbers = [len(chosen) for _, chosen in self.approved(undecided)]
        return sum(len(numbers) if one.role in _SINGLE else sum(numbers) for one in self._channels)

    def finished(self, product: CatalogueProduct, approved: Sequence[Candidate]) -> Iterator[dict[str, Any]]:
        """The entries of a product's finished images."""
        try:
            photo = pictures.photo_of(product, self._settings, self._picture(approved[0]).entry(), self._readable)
        except UserError as error:
            self.result.refused.append(f"{product.sku}: {error}")
            return
        drawn = [self._picture(one, photo) for one in approved]
        for channel in self._channels:
            # What wants no scene shows the real product.
            real = [photo] if photo is not None and channel.background != "any" else []
            shown: list[Picture] = [*real] or [*(drawn[:1] if channel.role in _SINGLE else drawn)]
            for place, picture in enumerate(shown):
                try:
                    yield self._one(product, picture, channel, place)
                except UserError as error:
                    self.result.refused.append(f"{product.sku}: {error}")

    def _picture(self, candidate: Candidate, photo: PhotoPicture | None = None) -> CandidatePicture:
        return CandidatePicture(self._catalogue, self._settings, candidate, photo)

    def _one(self, product: CatalogueProduct, picture: Picture, channel: Channel, place: int) -> dict[str, Any]:
        """The entry of a finished image, which is written unless it is there.

        Raises:
            UserError: the picture cannot be read, or cannot be made fit.
        """
        name = f"{self._folder_of(product.sku)}/{channel.name}-{picture.name}{EXTENSIONS[channel.format]}"
        made_from = pictures.made_from(picture, channel, self._signer)
        known = self._before.get(name, {})
        path = self._folder / name
        if known.get("made_from") != made_from or not _is_whole(path, known.get("sha256")):
            done = picture.finish(channel, path, self._credentials)
            self.result.written += 1
            self.result.warnings += [f"{product.sku}, {channel.name}: {text}" for text in done.warnings]
            known = {"width": done.width, "height": done.height, "bytes": done.bytes, "sha256": done.sha256}
        return {
            "sku": product.sku, "file": name, "channel": channel.name, "role": channel.role,
            "position": channel.position + place, "alt": _alt(product),
            "copy": product.copy.entry() if product.copy else None,
            **{key: known[key] for key in ("width", "height", "bytes", "sha256")}, **picture.entry(),
            "made_from": made_from,
        }  # fmt: skip

    def withdraw(self, name: str) -> None:
        """Move a file that is not handed over any more aside; it is never deleted."""
        path = self._folder / name
        if not path.is_file():
            return
        aside = self._folder / _WITHDRAWN / name
        number = 2
        while aside.exists():
            aside = aside.with_name(f"{Path(name).stem}-{number}{aside.suffix}")
            number += 1
        files.move(path, aside)
        # Not empty: the product has other images.
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        self.result.withdrawn += 1

    def _folder_of(self, sku: str) -> str:
        """The name of a product's folder: the SKU where that can be one, and nobody else's on any system."""
        name = file_name.cleaned(sku)
        alike = file_name.alike(name)
        if name != sku or alike in _TAKEN or self._folders.setdefault(alike, sku) != sku:
            digest = hashlib.sha256(sku.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
            name = f"{file_name.truncated(name, file_name.LONGEST_STEM - _DIGITS - 1)}~{digest}"
        return name


def _alt(product: CatalogueProduct) -> dict[str, str]:
    """Alt texts by language; a title that was written for the shop stands for that of the list."""
    copy = product.copy
    return {**product.plan.alt, copy.language: copy.title} if copy else dict(product.plan.alt)


def _chosen(own: Sequence[Candidate], undecided: bool) -> list[Candidate]:
    """The approved ones, the first approved first; with ``undecided`` else the first that is not rejected."""
    approved = sorted((one for one in own if one.verdict == "approved"), key=lambda one: one.decision or 0)
    if approved or not undecided:
        return approved
    return [one for one in own if one.state == "drawn" and not one.verdict][:1]


def _is_whole(path: Path, digest: str | None) -> bool:
    return path.is_file() and sha256([path]) == digest
