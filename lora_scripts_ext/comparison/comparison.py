"""What is compared, how it is drawn, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..contract import WeightedLora
from ..errors import UserError
from .card import Layout, Specification


@dataclass(frozen=True)
class Product:
    """One of the two.

    Attributes:
        prompt: what is drawn of it.
        loras: that act on it alone.
        photo: used as it is in place of a drawing; None draws it.
    """

    name: str
    prompt: str = ""
    loras: tuple[WeightedLora, ...] = ()
    photo: Image.Image | None = None


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how it is drawn.

    Attributes:
        prompt: said of both products, behind the prompt of each.
        weights: the LoRAs' weights are multiplied by each of these in turn, and both products drawn in one image.
        side: of a product by itself, in pixels; 0 takes the base model's. The image of both has about as many pixels.
        blend: share of that image's width over which one half passes into the other.
        cfg_scale: 0 takes the base model's.
        producer: for the label in the files.
    """

    left: Product
    right: Product
    specifications: tuple[Specification, ...] = ()
    title: str = ""
    layout: Layout = "wide"
    prompt: str = ""
    negative: str = ""
    weights: tuple[float, ...] = (1.0,)
    side: int = 0
    blend: float = 1 / 16
    seed: int = 1234
    steps: int = 20
    cfg_scale: float = 0.0
    sampler: str = "Euler"
    producer: str = "LoRA-Trainer"
    write_parameters: bool = True

    @property
    def products(self) -> tuple[Product, Product]:
        return self.left, self.right

    def check(self) -> None:
        """See that there is something to draw each product from.

        Raises:
            UserError: there is not, or no weight is given.
        """
        for side, product in zip(("left", "right"), self.products, strict=True):
            if product.photo is None and not product.prompt.strip():
                raise UserError(f"{side}: there is neither a prompt nor a photo; give one of them.")
        if not self.weights:
            raise UserError("weights is empty; give at least one number, such as 1.")

    @property
    def has_photo(self) -> bool:
        """Whether a product is not drawn."""
        return any(product.photo is not None for product in self.products)

    @property
    def needs_drawer(self) -> bool:
        """Whether a product is drawn."""
        return any(product.photo is None for product in self.products)


@dataclass(frozen=True)
class Frame:
    """Both products in one image.

    Attributes:
        weight: of the sweep.
        bleeding: see :func:`bleeding.bleeding`.
    """

    file: Path
    weight: float
    bleeding: float


@dataclass(frozen=True)
class Result:
    """What was written.

    Attributes:
        frames: in the order of the weights; none where a photo is compared or the host cannot draw regions.
        best: of these the one with the least bleeding.
    """

    card: Path
    pictures: tuple[Path, ...]
    frames: tuple[Frame, ...]
    best: Frame | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        frames = [
            {"file": str(one.file), "weight": one.weight, "bleeding": round(one.bleeding, 4)} for one in self.frames
        ]
        return {
            "card": str(self.card),
            "pictures": [str(path) for path in self.pictures],
            "frames": frames,
            "best": frames[self.frames.index(self.best)] if self.best is not None else None,
            "warnings": list(self.warnings),
        }
