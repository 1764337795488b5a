"""Many seeds drawn in batches as large as there is memory for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image

from .. import memory
from ..contract import DrawRequest
from ..errors import UserError

Attempt = Callable[[DrawRequest], list[Image.Image]]


class Batches:
    """Finds out how many images fit, and remembers it."""

    def __init__(self, device: torch.device) -> None:
        """``device``: that is freed where a batch was too large."""
        self._device = device
        self._most: int | None = None

    def draw(self, request: DrawRequest, attempt: Attempt) -> list[Image.Image]:
        """The images of all seeds; ``attempt`` draws those of the request that it is given at once.

        Raises:
            UserError: there is not enough memory for a single one.
        """
        images: list[Image.Image] = []
        while len(images) < len(request.seeds):
            seeds = request.seeds[len(images) :][: self._most]
            drawn = _tried(replace(request, seeds=seeds), attempt)
            if drawn is not None:
                images += drawn
                continue
            memory.release(self._device)
            self._most = max(1, len(seeds) // 2)
            if len(seeds) == 1:
                raise UserError(
                    f"There is not enough memory for an image of {request.width} x {request.height} pixels; draw "
                    "smaller ones, or close other programs."
                )
        return images


def _tried(request: DrawRequest, attempt: Attempt) -> list[Image.Image] | None:
    """None where there was not enough memory; what the error held on to can be freed then."""
    try:
        return attempt(request)
    except memory.ERRORS as error:
        if not memory.ran_out(error):
            raise
    return None
