"""Approved candidates handed over: finished for every channel, with a manifest; the same decisions, the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

from PIL import Image

from .. import file_name, files, time_text
from ..channels import law
from ..channels.channel import Channel, load
from ..channels.finish import Finished, finish
from ..errors import UserError
from ..marks.formats import EXTENSIONS
from ..marks.label import Label
from ..models.weights import sha256
from . import candidates, decisions, manifest
from .candidates import Candidate, Crop
from .decisions import Decision
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
        progress: is called with the images that are done and all of them.
        check: is called before each; what it raises ends the work.

    Raises:
        UserError: a channel or the old manifest cannot be used, or the folder cannot be written.
    """
    chosen = wanted(catalogue.settings(), channels)
    before = {one["file"]: one for one in manifest.read(folder)}
    work = _Work(catalogue, folder, chosen, before)
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


def _draws_mark(channel: Channel, settings: Settings) -> bool:
    answer = "without" if settings.visible_mark == "ask" else settings.visible_mark
    return law.draws_mark(channel, settings.market, answer)


class _Work:
    """One export."""

    def __init__(
        self, catalogue: Catalogue, folder: Path, channels: Sequence[Channel], before: dict[str, dict[str, Any]]
    ) -> None:
        self._catalogue = catalogue
        self._settings = catalogue.settings()
        self._folder = folder
        self._channels = channels
        self._before = before
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
        for channel in self._channels:
            shown = approved[:1] if channel.role in _SINGLE else approved
            for position, candidate in enumerate(shown, 1):
                try:
                    yield self._one(product, candidate, channel, position)
                except UserError as error:
                    self.result.refused.append(f"{product.sku}: {error}")

    def _one(self, product: CatalogueProduct, candidate: Candidate, channel: Channel, position: int) -> dict[str, Any]:
        """The entry of a finished image, which is written unless it is there.

        Raises:
            UserError: the candidate's image cannot be read, or cannot be made fit.
        """
        name = f"{self._folder_of(product.sku)}/{channel.name}-{candidate.number:03d}{EXTENSIONS[channel.format]}"
        made_from = _made_from(candidate, channel, self._settings)
        known = self._before.get(name, {})
        path = self._folder / name
        if known.get("made_from") != made_from or not _is_whole(path, known.get("sha256")):
            done = self._finish(candidate, channel, path)
            self.result.written += 1
            self.result.warnings += [f"{product.sku}, {channel.name}: {text}" for text in done.warnings]
            known = {"width": done.width, "height": done.height, "bytes": done.bytes, "sha256": done.sha256}
        facts = candidate.facts
        return {
            "sku": product.sku, "file": name, "channel": channel.name, "role": channel.role,
            "position": channel.position + position - 1, "alt": dict(product.plan.alt),
            **{key: known[key] for key in ("width", "height", "bytes", "sha256")},
            "candidate": candidate.number, "seed": candidate.seed, "prompt": facts["prompt"],
            "negative": facts["negative"], "base_model": facts["base_model"], "loras": facts["loras"],
            "label": {"source": facts["source"], "producer": facts["producer"], "produce_id": facts["produce_id"]},
            "approval": _approval(decisions.approval(self._catalogue, candidate)), "made_from": made_from,
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

    def _finish(self, candidate: Candidate, channel: Channel, path: Path) -> Finished:
        facts = candidate.facts
        try:
            with Image.open(candidate.path(self._catalogue)) as image:
                image.load()
        except OSError as error:
            raise UserError(
                f"{candidate.path(self._catalogue)}: this candidate cannot be read ({error}); draw it again."
            ) from error
        return finish(
            image, channel, mask=None, crop=_pixels(candidate.crop, image.size),
            label=Label(facts["source"], facts["producer"], facts["produce_id"]),
            parameters=facts["parameters"] if self._settings.write_parameters else None, out=path,
            mark=_draws_mark(channel, self._settings),
        )  # fmt: skip

    def _folder_of(self, sku: str) -> str:
        """The name of a product's folder: the SKU where that can be one, and nobody else's on any system."""
        name = file_name.cleaned(sku)
        alike = file_name.alike(name)
        if name != sku or alike in _TAKEN or self._folders.setdefault(alike, sku) != sku:
            digest = hashlib.sha256(sku.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
            name = f"{file_name.truncated(name, file_name.LONGEST_STEM - _DIGITS - 1)}~{digest}"
        return name


def _chosen(own: Sequence[Candidate], undecided: bool) -> list[Candidate]:
    """The approved ones, the first approved first; with ``undecided`` else the first that is not rejected."""
    approved = sorted((one for one in own if one.verdict == "approved"), key=lambda one: one.decision or 0)
    if approved or not undecided:
        return approved
    return [one for one in own if one.state == "drawn" and not one.verdict][:1]


def _pixels(crop: Crop | None, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of an image of this size, at least one pixel wide and high."""
    if crop is None:
        return None
    (left, right), (top, bottom) = (
        (floor(first * side), max(ceil(last * side), floor(first * side) + 1))
        for first, last, side in ((crop[0], crop[2], size[0]), (crop[1], crop[3], size[1]))
    )
    return left, top, right, bottom


def _made_from(candidate: Candidate, channel: Channel, settings: Settings) -> str:
    """The same text for two finished images with the same bytes."""
    said = [candidate.sha256, candidate.crop, asdict(channel), settings.market, settings.visible_mark]
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_whole(path: Path, digest: str | None) -> bool:
    return path.is_file() and sha256([path]) == digest


def _approval(decision: Decision | None) -> dict[str, Any] | None:
    """Who has approved, and when; None where nobody has."""
    return None if decision is None else {"who": decision.who, "at": time_text.iso(decision.created)}
