"""Two products compared: each drawn by itself for the card, and both in one image, at several weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from .. import files, marks
from ..contract import Drawer, DrawRequest
from ..errors import UserError
from ..marks import Label
from . import bleeding, card, frame
from .card import Card, Side
from .comparison import Comparison, Frame, Product, Result
from .pictures import Pictures

# What sides are rounded to: every family takes it.
_STEP = 64

Progress = Callable[[int, int, str], None]


def compare(comparison: Comparison, drawer: Drawer | None, out: Path, progress: Progress = lambda *_: None) -> Result:
    """Write ``card.png``, a picture of each product that is drawn, and ``both-WEIGHT.png``, into the folder ``out``.

    What is there already, drawn in the same way, is not drawn again.

    Args:
        comparison: what is compared.
        drawer: may be None where both products have a photo.
        out: the folder; other files of these names are replaced.
        progress: called with images done, all, and what they are; what it raises ends the work.

    Raises:
        UserError: there is nothing to draw a product from, or the host cannot draw it.
        Interrupted: someone has stopped the host meanwhile.
    """
    comparison.check()
    if not comparison.needs_drawer:
        return _of_photos(comparison, out)
    if drawer is None:
        raise UserError("A product without a photo is drawn with a base model, and there is none; name one.")
    return _Drawn(comparison, drawer, out, progress).result()


def _of_photos(comparison: Comparison, out: Path) -> Result:
    """Nothing in it is made by a model, so it needs no label."""
    drawn = _card(comparison, [product.photo for product in comparison.products if product.photo is not None])
    path = out / "card.png"
    with files.replacing(path) as temporary:
        card.draw(drawn).save(temporary, format="PNG")
    return Result(path, (), (), None, _warnings(_ONLY_CARD, card.missing(drawn)))


_ONLY_CARD = "A photo stays as it is, so there is no image of both products, only the card."


class _Drawn:
    """A comparison of which at least one product is drawn."""

    def __init__(self, comparison: Comparison, drawer: Drawer, out: Path, progress: Progress) -> None:
        self._comparison, self._drawer, self._out, self._progress = comparison, drawer, out, progress
        self._pictures = Pictures(drawer, out, comparison.producer, comparison.write_parameters)
        self._side = comparison.side or drawer.resolution
        self._obstacle = self._why_no_frames()
        self._weights = () if self._obstacle else comparison.weights
        # Both alone as large as the image of both: what bleeding is measured by.
        frames = len(self._weights) + 2 if self._weights else 0
        self._all = sum(product.photo is None for product in comparison.products) + frames
        self._done = 0

    def result(self) -> Result:
        """Draw and write everything."""
        self._progress(0, self._all, "images")
        pictures, written = [], []
        for product, name in zip(self._comparison.products, ("left", "right"), strict=True):
            if product.photo is not None:
                pictures.append(product.photo)
                continue
            pictures.append(self._draw(name, self._alone(product, (self._side, self._side))))
            written.append(self._pictures.path(name))
        frames = self._frames()
        drawn = _card(self._comparison, pictures)
        path = self._write_card(drawn)
        best = min(frames, key=lambda one: one.bleeding, default=None)
        return Result(path, tuple(written), frames, best, _warnings(self._obstacle, card.missing(drawn)))

    def _why_no_frames(self) -> str:
        """Why both are not drawn in one image; empty where they are."""
        if self._comparison.has_photo:
            return _ONLY_CARD
        lacks = self._drawer.lacks(self._both(1.0))
        return f"There is no image of both products, only the card. {lacks}" if lacks else ""

    def _frames(self) -> tuple[Frame, ...]:
        if not self._weights:
            return ()
        left, right = (
            self._draw(f"{name}-alone", self._alone(product, self._wide()))
            for product, name in zip(self._comparison.products, ("left", "right"), strict=True)
        )
        frames = []
        for weight in self._weights:
            name = f"both-{weight:g}"
            image = self._draw(name, self._both(weight))
            frames.append(Frame(self._pictures.path(name), weight, bleeding.bleeding(image, left, right)))
        return tuple(frames)

    def _wide(self) -> tuple[int, int]:
        """Twice as wide as high, of about as many pixels as the picture of one product."""
        height = max(_STEP, round(self._side / 2**0.5 / _STEP) * _STEP)
        return 2 * height, height

    def _alone(self, product: Product, size: tuple[int, int]) -> DrawRequest:
        prompt = ", ".join(filter(None, (product.prompt, self._comparison.prompt)))
        return replace(self._request(size), prompt=prompt, loras=product.loras)

    def _both(self, weight: float) -> DrawRequest:
        comparison, size = self._comparison, self._wide()
        prompts = [product.prompt for product in comparison.products]
        loras = [[replace(lora, weight=lora.weight * weight) for lora in one.loras] for one in comparison.products]
        base = replace(self._request(size), prompt=comparison.prompt)
        return frame.request(base, prompts, loras, comparison.blend * size[0])

    def _request(self, size: tuple[int, int]) -> DrawRequest:
        comparison = self._comparison
        scale = comparison.cfg_scale or self._drawer.cfg_scale
        return DrawRequest(
            "", comparison.negative, (comparison.seed,), *size, comparison.steps, scale, comparison.sampler
        )

    def _draw(self, name: str, request: DrawRequest) -> Image.Image:
        image = self._pictures.draw(name, request, f"{self._comparison.blend:g}" if request.regions else "")
        self._done += 1
        self._progress(self._done, self._all, "images")
        return image

    def _write_card(self, drawn: Card) -> Path:
        path = self._out / "card.png"
        said = drawn.title, drawn.layout, drawn.left.name, drawn.right.name, tuple(drawn.specifications)
        producer, id = self._comparison.producer, self._pictures.id_of_all(said)
        if self._comparison.has_photo:
            label = Label("compositeWithTrainedAlgorithmicMedia", producer, id)
        else:
            label = Label("trainedAlgorithmicMedia", producer, id)
        marks.write(card.draw(drawn), path, "PNG", label=label)
        return path


def _card(comparison: Comparison, pictures: list[Image.Image]) -> Card:
    left, right = (
        Side(picture, product.name, product.photo is not None)
        for picture, product in zip(pictures, comparison.products, strict=True)
    )
    return Card(left, right, comparison.specifications, comparison.title, comparison.layout)


def _warnings(*sentences: str) -> tuple[str, ...]:
    return tuple(filter(None, sentences))
