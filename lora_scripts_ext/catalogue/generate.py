"""Drawing the candidates that wait: product by product, kept image by image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..contract import Drawer
from ..errors import UserError
from ..models.weights import sha256
from ..training.lock import locked
from . import candidates, fetching
from .candidates import Candidate, Drawn
from .loras import Loras
from .planning import words_of
from .product import CatalogueProduct
from .store import Catalogue
from .task import Task

Progress = Callable[[int, int, str], None]
_WHAT = "images"


@dataclass(frozen=True)
class Generated:
    """How many images were drawn and could not be drawn by one call."""

    drawn: int
    failed: int


def generate(
    catalogue: Catalogue,
    drawing: Callable[[], AbstractContextManager[Drawer]],
    loras: Loras,
    *,
    readable: Callable[[str], Path] = Path,
    progress: Progress = lambda done, total, what: None,
    check: Callable[[], None] = lambda: None,
) -> Generated:
    """Draw every candidate that waits. What cannot be drawn is noted with the reason, and the others go on.

    An image counts once its file is complete: after a kill at any moment the next call goes on behind the last one, and
    the images are the same, byte for byte.

    Args:
        catalogue: is locked meanwhile.
        drawing: takes the base model; called only where something waits.
        loras: finds those of the rules.
        readable: refuses, with a UserError, a path that may not be read.
        progress: is called with the images that are done and those of the whole call.
        check: is called before each product; what it raises ends the work.

    Raises:
        UserError: another process draws for this catalogue, or the base model cannot be used.
    """
    with locked(catalogue.folder):
        files.sweep(catalogue.images)
        total = candidates.waiting(catalogue)
        progress(0, total, _WHAT)
        if not total:
            return Generated(0, 0)
        with drawing() as drawer:
            return _Work(catalogue, drawer, loras, readable, total, progress, check).run()


class _Work:
    """The batches of one call."""

    def __init__(
        self,
        catalogue: Catalogue,
        drawer: Drawer,
        loras: Loras,
        readable: Callable[[str], Path],
        total: int,
        progress: Progress,
        check: Callable[[], None],
    ) -> None:
        self._catalogue = catalogue
        self._drawer = drawer
        self._loras = loras
        self._readable = fetching.reading(catalogue, readable)
        self._total = total
        self._progress = progress
        self._check = check
        self._settings = catalogue.settings()
        self._words = words_of(self._settings)
        self._place: tuple[()] | tuple[candidates.Place] = ()
        self._drawn = self._failed = 0

    def run(self) -> Generated:
        """One batch after the other, in the order of their LoRAs."""
        while found := self._next():
            self._check()
            product, batch = found
            waiting = [one for one in batch if one.state == "waiting"]
            try:
                self._draw(product, batch, waiting)
                self._drawn += len(waiting)
            except UserError as error:
                candidates.note_failed(self._catalogue, waiting, str(error))
                self._failed += len(waiting)
            self._progress(self._drawn + self._failed, max(self._total, self._drawn + self._failed), _WHAT)
        return Generated(self._drawn, self._failed)

    def _next(self) -> tuple[CatalogueProduct, list[Candidate]] | None:
        found = candidates.next_batch(self._catalogue, *self._place)
        if found is None and self._place:
            # What was asked for meanwhile may stand before it.
            found = candidates.next_batch(self._catalogue)
        if found is None:
            return None
        product, batch, place = found
        self._place = (place,)
        return product, batch

    def _draw(self, product: CatalogueProduct, batch: list[Candidate], waiting: list[Candidate]) -> None:
        """Draw what waits of a batch.

        The whole batch is drawn even where some of it is there already: an image may differ in the last digits of its
        numbers between a large batch and a small one.
        """
        if refusal := self._words.check(product.plan.prompt, product.sku).refusal:
            raise UserError(refusal)
        task = Task.of(product, batch, self._settings, self._loras, self._drawer, self._readable)
        missing = [one for one in waiting if not task.path(self._catalogue, one).is_file()]
        if missing:
            images = task.drawn(self._drawer)
            for candidate, image in zip(batch, images, strict=True):
                if candidate in missing:
                    task.write(self._catalogue, candidate, image)
        drawn = [
            Drawn(one, path.name, sha256([path]), task.facts(one))
            for one in waiting
            for path in [task.path(self._catalogue, one)]
        ]
        candidates.note_drawn(self._catalogue, drawn)
