"""Tags by a tagger of the WD14 kind: ``model.onnx`` and ``selected_tags.csv`` in a folder, through onnxruntime."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..captions.fields import Fields
from ..errors import UserError
from .base import CaptionerOptions, CaptionInput

_THRESHOLD = 0.35
# Categories of selected_tags.csv: 0 is general, 4 a character, 9 the rating, which is no part of a caption.
_GENERAL, _CHARACTER = "0", "4"


class Wd14:
    """A character is the subject, all other tags are attributes, the likeliest first."""

    name = "wd14"
    looks = True
    batch = 4

    def __init__(self, options: CaptionerOptions) -> None:
        """Open the model.

        Raises:
            UserError: onnxruntime or the model's files are missing.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                "The captioner wd14 needs onnxruntime; install it with pip install onnxruntime, or take another."
            ) from error
        folder = Path(options.model)
        model, tags = folder / "model.onnx", folder / "selected_tags.csv"
        if not options.model or not (model.is_file() and tags.is_file()):
            raise UserError(
                f"--model {options.model or '(none)'}: name the folder of a WD14 tagger, with model.onnx and "
                "selected_tags.csv in it."
            )
        self._tags = _read_tags(tags)
        try:
            self._session = onnxruntime.InferenceSession(str(model), providers=onnxruntime.get_available_providers())
        # onnxruntime's errors share no class.
        except Exception as error:
            raise UserError(f"{model}: onnxruntime cannot read it ({error}); download it again.") from error
        self._input = self._session.get_inputs()[0]

    def caption(self, images: Sequence[CaptionInput]) -> list[Fields]:
        """The tags of each image that are likelier than 0.35."""
        side = next((size for size in self._input.shape[1:3] if isinstance(size, int)), 448)
        batch = np.stack([_prepared(one.image, side) for one in images])
        likely = self._session.run(None, {self._input.name: batch})[0]
        return [self._fields(row) for row in likely]

    def close(self) -> None:
        """Let go of the model."""
        del self._session

    def _fields(self, likely: NDArray[np.float32]) -> Fields:
        order = [index for index in np.argsort(-likely) if likely[index] > _THRESHOLD]
        chosen = {
            category: [self._tags[index][0] for index in order if self._tags[index][1] == category]
            for category in (_GENERAL, _CHARACTER)
        }
        return Fields(subject=", ".join(chosen[_CHARACTER]), attributes=tuple(chosen[_GENERAL]))


def _read_tags(path: Path) -> list[tuple[str, str]]:
    """Name and category of every tag, in the order of the model's output."""
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    try:
        # Faces such as ^_^ keep their underscore.
        return [
            (row["name"].replace("_", " ") if len(row["name"]) > 3 else row["name"], row["category"]) for row in rows
        ]
    except KeyError as error:
        raise UserError(f"{path}: there is no column {error}; take the tagger's own selected_tags.csv.") from error


def _prepared(pixels: Image.Image, side: int) -> NDArray[np.float32]:
    """float32 [side, side, 3] in BGR, 0 to 255: padded with white to a square, as these taggers were trained."""
    longest = max(pixels.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(pixels, ((longest - pixels.width) // 2, (longest - pixels.height) // 2))
    resized = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized, dtype=np.float32)[:, :, ::-1])
