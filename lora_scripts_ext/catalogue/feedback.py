"""Chosen images as training images of the next model: marked as generated, and never too large a share of a set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import file_name, files
from ..captions.store import CaptionStore
from ..errors import UserError
from ..images.exclusive import changing
from . import candidates
from .candidates import Candidate
from .product import CatalogueProduct
from .store import Catalogue

#: who has "written" the captions of generated images, by which they are known in a set
BY = "generated"
SHARE = 0.3
_PAGE = 500


@dataclass(frozen=True)
class Fed:
    """What came of it.

    Attributes:
        added: names of the images that came.
        kept: how many were there already.
        left_out: how many would have made the share too large.
        share: of generated images in the set now.
    """

    folder: str
    added: list[str]
    kept: int
    left_out: int
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def feed_back(catalogue: Catalogue, folder: Path, share: float = SHARE, trigger_word: str = "") -> Fed:
    """Copy approved candidates into the training set in ``folder``, each with its prompt as caption.

    Their files keep the marks that say that they are generated, and so does the set's list of who wrote a caption. The
    first image of each product comes before the second one of any.

    Args:
        catalogue: theirs.
        folder: of the training set.
        share: of generated images in the set, at most, from 0 to 1.
        trigger_word: of the set's model; it is left out of captions, as training puts it there.

    Raises:
        UserError: the folder cannot be used, or the share is no such number.
    """
    if not 0 < share <= 1:
        raise UserError(f"share: it is {share:g}; write a share such as {SHARE}.")
    if not folder.is_dir():
        raise UserError(f"folder: there is no folder {folder}; name that of a training set.")
    with changing(folder):
        store = CaptionStore.open(folder)
        there = set(store.names)
        generated = sum(store.entry(name).by == BY for name in store.names)
        chosen = {_name(product, one): one for product, one in _approved(catalogue)}
        new = {name: one for name, one in chosen.items() if name not in there}
        room = len(new) if share == 1 else int((share * len(there) - generated) / (1 - share) + 1e-9)
        added = list(new)[: max(room, 0)]
        for name in added:
            files.copy(new[name].path(catalogue), folder / name)
        if added:
            store = CaptionStore.open(folder)
            for name in added:
                store.put(name, _without(new[name].facts["prompt"], trigger_word), by=BY)
            store.save()
    total = len(there) + len(added)
    now = (generated + len(added)) / total if total else 0.0
    return Fed(str(folder), added, len(chosen) - len(new), len(new) - len(added), round(now, 4))


def _approved(catalogue: Catalogue) -> Iterator[tuple[CatalogueProduct, Candidate]]:
    """Approved candidates: the first of every product, then the second ones, and so on."""
    rows: list[tuple[int, CatalogueProduct, Candidate]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = catalogue.page(state="approved", limit=_PAGE, cursor=cursor)
        own = candidates.of_products(catalogue, [one.id for one in page.products])
        for product in page.products:
            approved = sorted(
                (one for one in own[product.id] if one.verdict == "approved"), key=lambda one: one.decision or 0
            )
            rows += [(place, product, one) for place, one in enumerate(approved)]
        cursor = page.next
    for _, product, one in sorted(rows, key=lambda row: row[0]):
        yield product, one


def _without(prompt: str, trigger_word: str) -> str:
    wanted = trigger_word.strip().casefold()
    return ", ".join(part for part in map(str.strip, prompt.split(",")) if part and part.casefold() != wanted)


def _name(product: CatalogueProduct, one: Candidate) -> str:
    """Of an image in the set: the same one for the same image."""
    return file_name.cleaned(f"generated-{product.sku}-{one.number:03d}-{one.sha256[:8]}.png")
