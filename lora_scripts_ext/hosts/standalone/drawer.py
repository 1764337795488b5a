"""Finished images drawn with a base model that the standalone host has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from PIL import Image

from ...adapters.applied import applied
from ...contract import DrawRequest, WeightedLora
from ...errors import UserError
from ...families.registry import by_name
from .. import regions
from ..batches import Batches
from ..canvas import finished, widened
from ..requests import Stamp, require_sound, stamp
from .regional import placed
from .sampler import FLOW_SAMPLERS, SAMPLERS
from .session import StandaloneSession


class StandaloneDrawer:
    """See ``contract.Drawer``. The LoRAs of a request stay attached for the next one that has the same."""

    def __init__(self, session: StandaloneSession) -> None:
        """To be used as a context manager, which takes the LoRAs off again."""
        self._session = session
        self._family = by_name(session.model.family)
        self._attached = ExitStack()
        self._loras: list[tuple[WeightedLora, Stamp]] = []
        self._batches = Batches(session.model.device)

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
        if lacks := regions.lacks(request, self._family):
            return lacks
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
        drawn = self._batches.draw(widened(request, self._session.side_step), self._draw_batch)
        return [finished(one, request) for one in drawn]

    def _draw_batch(self, request: DrawRequest) -> list[Image.Image]:
        if not request.regions:
            return self._session.draw_batch(request)
        with placed(self._session, request) as guidance:
            return self._session.draw_batch(request, guidance)

    def _attach(self, loras: Sequence[WeightedLora]) -> None:
        """These LoRAs act on the model, and no others.

        Raises:
            UserError: one cannot be read, or does not fit the base model; then none acts.
        """
        wanted = [(lora, stamp(lora.file)) for lora in loras if lora.weight]
        if wanted == self._loras:
            return
        self._attached.close()
        self._loras = []
        with ExitStack() as stack:
            for lora, _ in wanted:
                stack.enter_context(applied(self._session, lora.file, lora.weight))
            self._attached, self._loras = stack.pop_all(), wanted
