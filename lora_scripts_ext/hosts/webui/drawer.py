"""Finished images drawn by a WebUI's own txt2img and img2img: what the WebUIs have in common.

Importable only inside a WebUI.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, ClassVar

import torch
from modules import processing, sd_samplers, sd_schedulers, shared
from PIL import Image

from ...contract import DrawRequest, WeightedLora
from ...errors import Interrupted, UserError
from ...families.family import Family
from ...models.weights import sha256
from .. import canvas, regions
from ..batches import Batches
from ..requests import Stamp, require_sound, stamp
from . import controls, regional, shared_state
from .regional import Listing, Target

# Pixels a latent cell, which the WebUIs take for granted.
_CELL = 8
# Their img2img's "just resize (latent upscale)", and "just resize".
_LATENTS_RESIZED, _RESIZED = 3, 0
# Settings that would change what was to stay, or add images to those that were asked for.
SETTINGS = {
    "img2img_color_correction": False, "save_init_img": False, "return_mask": False, "return_mask_composite": False,
    "img2img_inpaint_precise_mask": False, "sd_lora": "None",
}  # fmt: skip


class WebUIDrawer(ABC):
    """See ``contract.Drawer``. LoRAs are used as a prompt's ``<lora:…>`` uses them."""

    #: a job's cache of encoded prompts while it is empty
    _uncached: ClassVar[Sequence[None]]

    def __init__(self, resident: Any, family: Family, device: torch.device, vae_factor: int) -> None:
        self._resident = resident
        self._factor = vae_factor
        self._family = family
        self._batches = Batches(device)
        self._checkpoint = resident.sd_checkpoint_info
        self._entries: dict[tuple[Path, Stamp], Any] = {}

    @property
    def model_name(self) -> str:
        """The checkpoint, as the WebUI calls it."""
        return str(self._checkpoint.name_for_extra)

    @property
    def model_hash(self) -> str:
        """SHA-256 (hex) of the checkpoint."""
        if not self._checkpoint.sha256:
            self._checkpoint.sha256 = sha256([Path(self._checkpoint.filename)])
        return str(self._checkpoint.sha256)

    @property
    def resolution(self) -> int:
        """The side in pixels that its family was trained at."""
        return self._family.resolution(self._prediction_type())

    @property
    def cfg_scale(self) -> float:
        """The usual CFG scale of its family."""
        return self._family.cfg_scale

    def lacks(self, request: DrawRequest) -> str:
        """See ``contract.Drawer.lacks``."""
        if lacks := regions.lacks(request, self._family):
            return lacks
        if not _knows_sampler(request.sampler):
            known = ", ".join(sd_samplers.all_samplers_map)
            return f"There is no sampler {request.sampler!r} for this base model here; valid: {known}."
        return controls.lacks(request)

    def draw(self, request: DrawRequest) -> list[Image.Image]:
        """See ``contract.Drawer.draw``.

        Raises:
            UserError: the request or a LoRA of it cannot be used.
            Interrupted: someone has pressed the WebUI's Interrupt.
        """
        require_sound(request)
        if lacks := self.lacks(request):
            raise UserError(lacks)
        if request.inpainting is not None and not request.inpainting.denoising_strength:
            return [request.inpainting.image.convert("RGB") for _ in request.seeds]
        with self._ready():
            whole, *own = map(self._listing, (request.loras, *(region.loras for region in request.regions)))
            step = self._factor * (2 if self._family.has_flow else 1)
            drawn = self._batches.draw(canvas.widened(request, step), lambda part: self._draw_batch(part, whole, own))
        return [canvas.finished(one, request) for one in drawn]

    def _listing(self, loras: Sequence[WeightedLora]) -> Listing:
        return [(self._entry(lora.file), lora) for lora in loras if lora.weight]

    def _draw_batch(self, request: DrawRequest, loras: Listing, own: Sequence[Listing]) -> list[Image.Image]:
        """``loras`` act on the whole image, ``own`` each in its region."""
        prompt = " ".join([request.prompt, *(f"<lora:{entry.name}:{lora.weight:g}>" for entry, lora in loras)])
        job = self._job(request, prompt)
        # The WebUI's own cache goes by the LoRA's name, and is left as it was.
        job.cached_c, job.cached_uc = list(self._uncached), list(self._uncached)
        shared.state.job_count, shared.state.job_no = -1, 0
        try:
            with ExitStack() as stack:
                entries = {entry.name: entry for listing in (loras, *own) for entry, _ in listing}
                stack.enter_context(shared_state.listed(list(entries.values())))
                stack.enter_context(controls.applied(job, request))
                if request.regions:
                    stack.enter_context(regional.placed(job, request, own, self._target(), self._factor))
                done = processing.process_images(job)
        finally:
            job.close()
        images = done.images[done.index_of_first_image :][: len(request.seeds)]
        # Skip leaves an unfinished image, too.
        if shared.state.interrupted or shared.state.skipped or len(images) < len(request.seeds):
            shared.state.skipped = False
            raise Interrupted
        return images

    def _job(self, request: DrawRequest, prompt: str) -> Any:
        count = len(request.seeds)
        options = {
            "sd_model": self._resident,
            "prompt": [prompt] * count,
            "negative_prompt": request.negative,
            "seed": list(request.seeds),
            "subseed": 0,
            "batch_size": count,
            "sampler_name": request.sampler,
            "steps": request.steps,
            "width": request.width * _CELL // self._factor,
            "height": request.height * _CELL // self._factor,
            "restore_faces": False,
            "tiling": False,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            **self._guidance(request.cfg_scale),
        }
        inpainting = request.inpainting
        if inpainting is None:
            return processing.StableDiffusionProcessingTxt2Img(**options)
        mask = canvas.whole_cells(inpainting.mask, self._factor)
        latents = request.width // self._factor, request.height // self._factor
        return processing.StableDiffusionProcessingImg2Img(
            **options,
            init_images=[inpainting.image],
            mask=mask,
            latent_mask=mask.resize(latents, Image.Resampling.NEAREST),
            mask_blur=0,
            inpainting_fill=1,
            inpaint_full_res=False,
            # With another VAE the image would be resized by what its latents must not be.
            resize_mode=_RESIZED if self._factor == _CELL else _LATENTS_RESIZED,
            denoising_strength=inpainting.denoising_strength,
        )

    def _entry(self, lora: Path) -> Any:
        """The file as the WebUI lists it, under a name of its own, which no other version of the file has had.

        Raises:
            UserError: there is no such file, or the WebUI cannot use it with the model.
        """
        key = lora.resolve(), stamp(lora)
        if key not in self._entries:
            if not lora.is_file():
                raise UserError(f"{lora}: there is no such LoRA file; check the path.")
            self._forget_files()
            entry = shared_state.entry(f"{shared_state.PREVIEW}-{len(self._entries)}", lora)
            with shared_state.listed([entry]):
                fits = self._fits(entry.name)
            if not fits:
                raise UserError(
                    f"{lora}: the WebUI cannot use this LoRA with {self.model_name}; choose one that was trained on "
                    "the same kind of base model."
                )
            self._entries[key] = entry
        return self._entries[key]

    def _guidance(self, scale: float) -> dict[str, Any]:
        """The arguments of txt2img for this guidance scale."""
        return {"cfg_scale": scale}

    @abstractmethod
    def _prediction_type(self) -> Any:
        """What the model predicts, as far as its family's resolution depends on it."""

    @abstractmethod
    def _target(self) -> Target:
        """The UNet, for LoRAs that are not merged."""

    @abstractmethod
    def _ready(self) -> AbstractContextManager[None]:
        """The WebUI draws with the model whatever has been chosen meanwhile."""

    @abstractmethod
    def _fits(self, name: str) -> bool:
        """Whether the listed LoRA has an effect on the model; none is in use afterwards."""

    @abstractmethod
    def _forget_files(self) -> None:
        """LoRAs are read from their files again."""


def _knows_sampler(name: str) -> bool:
    if name in sd_samplers.all_samplers_map:
        return True
    ends = {f" {one}" for known in sd_schedulers.schedulers for one in (known.label, known.name)}
    return any(name.endswith(end) and name[: -len(end)] in sd_samplers.all_samplers_map for end in ends)
