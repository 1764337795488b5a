"""Candidates of a product that are drawn together: the request, the images, what is said of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from .. import marks
from ..contract import Control, Drawer, DrawRequest
from ..errors import UserError
from ..keeping import scene
from ..marks.iptc import COMPOSITE, Source
from ..marks.label import Label
from . import product_files
from .candidates import Candidate
from .loras import Lora, Loras
from .parameters import parameters
from .product import CatalogueProduct
from .product_files import ProductFiles
from .settings import Settings
from .store import Catalogue

_DIGITS = 32


@dataclass(frozen=True)
class Task:
    """A batch of a product.

    Attributes:
        request: of the whole batch.
        files: of the product; its photo is there where the product is kept.
        hashes: SHA-256 (hex) of each of the files, empty where there is none.
        model: the base model's name and SHA-256.
        stamp: the same text for two batches whose images would be the same.
    """

    product: CatalogueProduct
    settings: Settings
    request: DrawRequest
    files: ProductFiles
    hashes: tuple[str, ...]
    loras: tuple[Lora, ...]
    model: tuple[str, str]
    stamp: str

    @classmethod
    def of(
        cls,
        product: CatalogueProduct,
        batch: list[Candidate],
        settings: Settings,
        loras: Loras,
        drawer: Drawer,
        readable: Callable[[str], Path],
    ) -> Task:
        """Put it together.

        Raises:
            UserError: a LoRA or a file of the product cannot be read.
        """
        plan = product.plan
        found = tuple(loras.find(one) for one in plan.loras)
        own = ProductFiles.of(product, Path(settings.folder), readable)
        own = own if settings.keep_product else replace(own, photo=None, mask=None)
        hashes = own.hashes()
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
            settings.write_parameters, hashes, settings.control, settings.reference,
        ]  # fmt: skip
        return cls(product, settings, request, own, tuple(hashes), found, model, json.dumps(said, sort_keys=True))

    @property
    def source(self) -> Source:
        """IPTC's digital source type of its images."""
        return COMPOSITE if self.files.photo else "trainedAlgorithmicMedia"

    def drawn(self, drawer: Drawer) -> list[Image.Image]:
        """The images of the whole batch; where the product is kept, its photo's own pixels are in each.

        Raises:
            UserError: the host cannot do it, or the product cannot be cut out.
        """
        request = replace(
            self.request,
            control=_control(self.files.control, self.settings.control),
            reference=_control(self.files.reference, self.settings.reference),
        )
        if self.files.photo:
            return scene.kept(drawer, request, self.files.photo, self.files.mask)
        if lacks := drawer.lacks(request):
            raise UserError(lacks)
        return drawer.draw(request)

    def path(self, catalogue: Catalogue, candidate: Candidate) -> Path:
        """Where the image of a candidate lies or will lie: one that is drawn in another way has another name."""
        return catalogue.images / f"{self.product.id:06d}-{candidate.number:03d}-{self._id(candidate)[:10]}.png"

    def write(self, catalogue: Catalogue, candidate: Candidate, image: Image.Image) -> None:
        """Write the image with its label, whole or not at all."""
        text = self.parameters(candidate) if self.settings.write_parameters else None
        label = Label(self.source, self.settings.producer, self._id(candidate))
        marks.write(image, self.path(catalogue, candidate), "PNG", label=label, parameters=text)

    def parameters(self, candidate: Candidate) -> str:
        """As WebUIs write them."""
        return parameters(replace(self.request, seeds=(candidate.seed,)), self.loras, *self.model)

    def facts(self, candidate: Candidate) -> dict[str, Any]:
        """What is kept of its drawing."""
        request = self.request
        return {
            "prompt": request.prompt, "negative": request.negative, "width": request.width, "height": request.height,
            "steps": request.steps, "cfg_scale": request.cfg_scale, "sampler": request.sampler,
            "base_model": {"name": self.model[0], "sha256": self.model[1]},
            "loras": [one.to_dict() for one in self.loras], "source": self.source,
            "photo": self.hashes[:2] if self.files.photo else None,
            "producer": self.settings.producer, "produce_id": self._id(candidate),
            "parameters": self.parameters(candidate),
        }  # fmt: skip

    def _id(self, candidate: Candidate) -> str:
        """By which the image is known: a hash of all that it was drawn with."""
        text = json.dumps([self.stamp, candidate.seed, candidate.number])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _control(path: Path | None, wanted: dict[str, Any]) -> Control | None:
    """What ControlNet is given; None without an image."""
    if path is None:
        return None
    return Control(
        product_files.image(path),
        str(wanted.get("preprocessor", "")),
        str(wanted.get("model", "")),
        float(wanted.get("weight", 1.0)),
    )
