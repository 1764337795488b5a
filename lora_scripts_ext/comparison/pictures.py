"""Images drawn into a folder, each once: one that is there, and was drawn in the same way, is read instead."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from .. import marks
from ..contract import Drawer, DrawRequest, WeightedLora
from ..errors import UserError
from ..marks import Label
from .parameters import parameters

_DIGITS = 32


class Pictures:
    """The images of a comparison, as labelled PNGs."""

    def __init__(self, drawer: Drawer, out: Path, producer: str, write_parameters: bool) -> None:
        """``out``: the folder; ``producer`` and ``write_parameters``: as in ``Comparison``."""
        self._drawer, self._out = drawer, out
        self._producer, self._write_parameters = producer, write_parameters
        self._ids: list[str] = []

    def draw(self, name: str, request: DrawRequest, how: str = "") -> Image.Image:
        """The image of the request's first seed, as ``NAME.png``; ``how``: what of its regions' masks may differ.

        Raises:
            UserError: the host cannot draw it.
            Interrupted: someone has stopped the host meanwhile.
        """
        path, id = self.path(name), self._id(name, request, how)
        self._ids.append(id)
        if (there := _drawn(path, id)) is not None:
            return there
        image = self._drawer.draw(request)[0]
        text = parameters(request, self._drawer) if self._write_parameters else None
        marks.write(image, path, "PNG", label=Label("trainedAlgorithmicMedia", self._producer, id), parameters=text)
        return image

    def path(self, name: str) -> Path:
        """Of the image with this name."""
        return self._out / f"{name}.png"

    def id_of_all(self, more: object) -> str:
        """By which something is known that was put together of all that were drawn, and of ``more``."""
        return _digest((self._ids, more))

    def _id(self, name: str, request: DrawRequest, how: str) -> str:
        """By which an image is known: a hash of all that it is drawn with."""
        regions = [(one.prompt, [_stamp(lora) for lora in one.loras]) for one in request.regions]
        said = (
            name, request.prompt, request.negative, request.seeds, request.width, request.height, request.steps,
            request.cfg_scale, request.sampler, [_stamp(lora) for lora in request.loras], regions, how,
            self._drawer.model_name, self._drawer.model_hash, self._producer, self._write_parameters,
        )  # fmt: skip
        return _digest(said)


def _digest(said: object) -> str:
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _stamp(lora: WeightedLora) -> tuple[str, float, int, float]:
    """Name, weight, size and time of its file, which are the same wherever that is copied to."""
    if not lora.file.is_file():
        return lora.file.name, lora.weight, 0, 0.0
    status = lora.file.stat()
    return lora.file.name, lora.weight, status.st_size, round(status.st_mtime, 3)


def _drawn(path: Path, id: str) -> Image.Image | None:
    """The image at ``path``, if it is the one that is known by ``id``."""
    if not path.is_file():
        return None
    try:
        fields = marks.read(path).aigc or {}
        if fields.get("ProduceID") != id:
            return None
        with Image.open(path) as image:
            return image.convert("RGB")
    except (UserError, OSError):
        # Damaged: it is drawn again.
        return None
