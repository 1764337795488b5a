"""Drawing the candidates that wait: product by product, kept image by image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from .. import files, marks
from ..contract import Drawer, DrawRequest
from ..errors import UserError
from ..marks.label import Label
from ..models.weights import sha256
from ..training.lock import locked
from . import candidates
from .candidates import Candidate, Drawn
from .loras import Lora, Loras
from .parameters import parameters
from .planning import words_of
from .product import CatalogueProduct
from .settings import Settings
from .store import Catalogue

Progress = Callable[[int, int, str], None]
_WHAT = "images"
_DIGITS = 32


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
            return _Work(catalogue, drawer, loras, total, progress, check).run()


class _Work:
    """The batches of one call."""

    def __init__(
        self,
        catalogue: Catalogue,
        drawer: Drawer,
        loras: Loras,
        total: int,
        progress: Progress,
        check: Callable[[], None],
    ) -> None:
        self._catalogue = catalogue
        self._drawer = drawer
        self._loras = loras
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
        task = Task.of(product, batch, self._settings, self._loras, self._drawer)
        missing = [one for one in waiting if not task.path(self._catalogue, one).is_file()]
        if missing:
            if lacks := self._drawer.lacks(task.request):
                raise UserError(f"{product.sku}: {lacks}")
            images = self._drawer.draw(task.request)
            for candidate, image in zip(batch, images, strict=True):
                if candidate in missing:
                    task.write(self._catalogue, candidate, image)
        drawn = [
            Drawn(one, path.name, sha256([path]), task.facts(one))
            for one in waiting
            for path in [task.path(self._catalogue, one)]
        ]
        candidates.note_drawn(self._catalogue, drawn)


@dataclass(frozen=True)
class Task:
    """A batch of a product: what is drawn, and what is said of it.

    Attributes:
        request: of the whole batch.
        stamp: the same text for two batches whose images would be the same.
    """

    product: CatalogueProduct
    settings: Settings
    request: DrawRequest
    loras: tuple[Lora, ...]
    model: tuple[str, str]
    stamp: str

    @classmethod
    def of(
        cls, product: CatalogueProduct, batch: list[Candidate], settings: Settings, loras: Loras, drawer: Drawer
    ) -> Task:
        """Put it together.

        Raises:
            UserError: a LoRA or a file of the product cannot be read.
        """
        plan = product.plan
        found = tuple(loras.find(one) for one in plan.loras)
        request = DrawRequest(
            prompt=plan.prompt,
            negative=plan.negative,
            seeds=tuple(one.seed for one in batch),
            width=settings.width or drawer.resolution,
            height=settings.height or drawer.resolution,
            steps=settings.steps,
            cfg_scale=settings.cfg_scale or drawer.cfg_scale,
            sampler=settings.sampler,
            loras=tuple(one.weighted for one in found),
        )
        model = drawer.model_name, drawer.model_hash
        said = [
            product.sku, plan.prompt, plan.negative, request.width, request.height, request.steps, request.cfg_scale,
            request.sampler, [(one.sha256, one.weight) for one in found], model, settings.producer,
            settings.write_parameters,
        ]  # fmt: skip
        return cls(product, settings, request, found, model, json.dumps(said, sort_keys=True))

    def path(self, catalogue: Catalogue, candidate: Candidate) -> Path:
        """Where the image of a candidate lies or will lie: one that is drawn in another way has another name."""
        return catalogue.images / f"{self.product.id:06d}-{candidate.number:03d}-{self._id(candidate)[:10]}.png"

    def write(self, catalogue: Catalogue, candidate: Candidate, image: Image.Image) -> None:
        """Write the image with its label, whole or not at all."""
        text = self.parameters(candidate) if self.settings.write_parameters else None
        marks.write(image, self.path(catalogue, candidate), "PNG", label=self.label(candidate), parameters=text)

    def label(self, candidate: Candidate) -> Label:
        """What its file says of its making."""
        return Label("trainedAlgorithmicMedia", self.settings.producer, self._id(candidate))

    def parameters(self, candidate: Candidate) -> str:
        """As the WebUI writes them."""
        one = replace(self.request, seeds=(candidate.seed,))
        return parameters(one, self.loras, *self.model)

    def facts(self, candidate: Candidate) -> dict[str, Any]:
        """What is kept of its drawing."""
        request = self.request
        return {
            "prompt": request.prompt, "negative": request.negative, "width": request.width, "height": request.height,
            "steps": request.steps, "cfg_scale": request.cfg_scale, "sampler": request.sampler,
            "base_model": {"name": self.model[0], "sha256": self.model[1]},
            "loras": [one.to_dict() for one in self.loras], "source": self.label(candidate).source,
            "producer": self.settings.producer, "produce_id": self._id(candidate),
            "parameters": self.parameters(candidate),
        }  # fmt: skip

    def _id(self, candidate: Candidate) -> str:
        """By which the image is known: a hash of all that it was drawn with."""
        text = json.dumps([self.stamp, candidate.seed, candidate.number])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
