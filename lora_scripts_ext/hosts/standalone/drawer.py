"""Finished images drawn with a base model that the standalone host has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

import numpy as np
from PIL import Image

from ... import memory
from ...adapters.applied import applied
from ...contract import DrawRequest, Inpainting, WeightedLora
from ...errors import UserError
from ...families.registry import by_name
from ..requests import require_sound
from .sampler import FLOW_SAMPLERS, SAMPLERS
from .session import StandaloneSession

_Stamp = tuple[WeightedLora, int, int]


class StandaloneDrawer:
    """See ``contract.Drawer``. The LoRAs of a request stay attached for the next one that has the same."""

    def __init__(self, session: StandaloneSession) -> None:
        """To be used as a context manager, which takes the LoRAs off again."""
        self._session = session
        self._family = by_name(session.model.family)
        self._attached = ExitStack()
        self._loras: list[_Stamp] = []
        self._most: int | None = None

    def __enter__(self) -> StandaloneDrawer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._attached.close()

    @property
    def model_name(self) -> str:
        """The base model's file or folder, without what comes before it."""
        return self._session.model.name

    @property
    def model_hash(self) -> str:
        """SHA-256 (hex) of the base model's file, or of the weights of a folder."""
        return self._session.model.hash

    @property
    def resolution(self) -> int:
        """The side in pixels that its family was trained at."""
        return self._session.model.resolution

    @property
    def cfg_scale(self) -> float:
        """The usual CFG scale of its family."""
        return self._family.cfg_scale

    def lacks(self, request: DrawRequest) -> str:
        """See ``contract.Drawer.lacks``."""
        if request.control is not None or request.reference is not None:
            return (
                "Without a WebUI there is no ControlNet and no IP-Adapter; leave the control image and the reference "
                "out, or generate in a WebUI that has ControlNet."
            )
        if request.regions:
            return "This host cannot draw regions with prompts of their own; leave them out."
        if request.inpainting is not None and self._family.has_flow:
            return f"{self._family.title} cannot inpaint here; choose a Stable Diffusion 1, 2 or XL base model."
        known = FLOW_SAMPLERS if self._family.has_flow else SAMPLERS
        if request.sampler not in known:
            return f"There is no sampler {request.sampler!r} for this base model here; valid: {', '.join(known)}."
        return ""

    def draw(self, request: DrawRequest) -> list[Image.Image]:
        """See ``contract.Drawer.draw``. The same seed gives the same image in any batch, up to rounding."""
        require_sound(request)
        if lacks := self.lacks(request):
            raise UserError(lacks)
        if request.inpainting is not None and not request.inpainting.denoising_strength:
            return [request.inpainting.image.convert("RGB") for _ in request.seeds]
        self._attach(request.loras)
        widened = _widened(request, self._session.side_step)
        images: list[Image.Image] = []
        while len(images) < len(request.seeds):
            seeds = request.seeds[len(images) :][: self._most]
            drawn = self._draw_batch(replace(widened, seeds=seeds))
            if drawn is None:
                memory.release(self._session.model.device)
                self._most = len(seeds) // 2
                if not self._most:
                    raise UserError(
                        f"There is not enough memory for an image of {request.width} x {request.height} pixels; draw "
                        "smaller ones, or close other programs."
                    )
            else:
                images += [_finished(one, request) for one in drawn]
        return images

    def _attach(self, loras: Sequence[WeightedLora]) -> None:
        """These LoRAs act on the model, and no others.

        Raises:
            UserError: one cannot be read, or does not fit the base model; then none acts.
        """
        wanted = [_stamp(lora) for lora in loras if lora.weight]
        if wanted == self._loras:
            return
        self._attached.close()
        self._loras = []
        with ExitStack() as stack:
            for lora, _, _ in wanted:
                stack.enter_context(applied(self._session, lora.file, lora.weight))
            self._attached, self._loras = stack.pop_all(), wanted

    def _draw_batch(self, request: DrawRequest) -> list[Image.Image] | None:
        """None where there is not enough memory for it."""
        try:
            return self._session.draw_batch(request)
        except memory.ERRORS as error:
            if not memory.ran_out(error):
                raise
        return None


def _stamp(lora: WeightedLora) -> _Stamp:
    """The LoRA with what tells another file of its name; a missing one is named when it is read."""
    try:
        status = lora.file.stat()
    except OSError:
        return lora, -1, 0
    return lora, status.st_size, status.st_mtime_ns


def _widened(request: DrawRequest, step: int) -> DrawRequest:
    """The request with sides that the model takes: what is too much is at the right and at the bottom."""
    width, height = (-(-side // step) * step for side in (request.width, request.height))
    inpainting = request.inpainting
    if inpainting is not None:
        image, mask = (
            _padded(one, width, height) for one in (inpainting.image.convert("RGB"), inpainting.mask.convert("L"))
        )
        inpainting = Inpainting(image, mask, inpainting.denoising_strength)
    return replace(request, width=width, height=height, inpainting=inpainting)


def _padded(image: Image.Image, width: int, height: int) -> Image.Image:
    """At its right and bottom the pixels of its edge are repeated."""
    pixels = np.asarray(image)
    more = [(0, height - image.height), (0, width - image.width), (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, more, mode="edge"))


def _finished(drawn: Image.Image, request: DrawRequest) -> Image.Image:
    """Of the request's size, with the very pixels of what was to stay."""
    image = drawn.crop((0, 0, request.width, request.height))
    if request.inpainting is None:
        return image
    return Image.composite(image, request.inpainting.image.convert("RGB"), request.inpainting.mask.convert("L"))
