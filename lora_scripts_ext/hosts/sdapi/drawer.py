"""Finished images drawn by another WebUI over its API."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from PIL import Image

from ...contract import DrawRequest, WeightedLora
from ...errors import UserError
from ...models.safetensors_file import read_header
from .. import canvas, controlnet
from ..requests import require_sound
from .client import Client, NotThere

_CELL = 8
_SECONDS = 600.0
_MEGABYTES = 64
_API = "sdapi/v1"
# Of that WebUI, for these images alone; it fails at those that it does not know.
_SETTINGS = {"img2img_color_correction": False, "save_init_img": False, "return_mask": False,
             "return_mask_composite": False, "img2img_inpaint_precise_mask": False}  # fmt: skip


class SdapiDrawer:
    """See ``contract.Drawer``. LoRAs are those that the WebUI lists by the names of the files."""

    def __init__(self, client: Client, base_model: str, resolution: int, cfg_scale: float) -> None:
        """See ``SdapiHost.drawing``."""
        self._client = client
        options = self._options()
        self._settings = {key: value for key, value in _SETTINGS.items() if key in options}
        self._checkpoint = self._chosen(base_model or str(options["sd_model_checkpoint"]))
        self._resolution = resolution
        self._cfg_scale = cfg_scale
        self._samplers: set[str] | None = None

    @property
    def model_name(self) -> str:
        """The checkpoint, as that WebUI calls it."""
        return str(self._checkpoint["model_name"])

    @property
    def model_hash(self) -> str:
        """SHA-256 (hex) of the checkpoint, once that WebUI has computed it."""
        return str(self._checkpoint.get("sha256") or "")

    @property
    def resolution(self) -> int:
        """The side in pixels that the operator has named."""
        return self._resolution

    @property
    def cfg_scale(self) -> float:
        """The CFG scale that the operator has named."""
        return self._cfg_scale

    def lacks(self, request: DrawRequest) -> str:
        """See ``contract.Drawer.lacks``.

        Raises:
            UserError: the WebUI cannot be reached.
        """
        if request.regions:
            return "This host cannot draw regions with prompts of their own; leave them out."
        if request.sampler not in self._known_samplers():
            known = ", ".join(sorted(self._known_samplers()))
            return f"There is no sampler {request.sampler!r} for this base model here; valid: {known}."
        try:
            self._units(request)
        except UserError as error:
            return str(error)
        return ""

    def draw(self, request: DrawRequest) -> list[Image.Image]:
        """See ``contract.Drawer.draw``. The API takes one seed a request, and counts on from it: only seeds that
        follow one another are drawn in one batch.

        Raises:
            UserError: as above, or the WebUI cannot be reached, or fails.
        """
        require_sound(request)
        if lacks := self.lacks(request):
            raise UserError(lacks)
        if request.inpainting is not None and not request.inpainting.denoising_strength:
            return [request.inpainting.image.convert("RGB") for _ in request.seeds]
        body = self._body(canvas.widened(request, _CELL))
        drawn = [image for first, count in _runs(request.seeds) for image in self._batch(request, body, first, count)]
        return [canvas.finished(one, request) for one in drawn]

    def _batch(self, request: DrawRequest, body: dict[str, Any], seed: int, count: int) -> list[Image.Image]:
        path = f"{_API}/{'txt2img' if request.inpainting is None else 'img2img'}"
        limits: dict[str, Any] = {"seconds": count * _SECONDS, "megabytes": count * _MEGABYTES}
        try:
            response = self._client.post(path, {**body, "seed": seed, "batch_size": count}, **limits)
            images = [_decoded(text) for text in response["images"][:count]]
        except NotThere:
            raise self._no_api() from None
        except (LookupError, TypeError, ValueError, OSError) as error:
            raise UserError(f"{self._client.address}: its response holds no images ({error}).") from error
        if len(images) < count:
            raise UserError(
                f"{self._client.address}: it has drawn {len(images)} of {count} images; was it interrupted?"
            )
        return images

    def _body(self, request: DrawRequest) -> dict[str, Any]:
        tags = [f"<lora:{self._listed(lora)}:{lora.weight:g}>" for lora in request.loras if lora.weight]
        body: dict[str, Any] = {
            "prompt": " ".join([request.prompt, *tags]),
            "negative_prompt": request.negative,
            "subseed": 0,
            "sampler_name": request.sampler,
            "steps": request.steps,
            "cfg_scale": request.cfg_scale,
            "width": request.width,
            "height": request.height,
            "override_settings": {**self._settings, "sd_model_checkpoint": self._checkpoint["title"]},
            "override_settings_restore_afterwards": True,
        }
        if units := self._units(request):
            body["alwayson_scripts"] = {"ControlNet": {"args": units}}
        if request.inpainting is not None:
            body |= {
                "init_images": [_encoded(request.inpainting.image)],
                "mask": _encoded(canvas.whole_cells(request.inpainting.mask, _CELL)),
                "mask_blur": 0,
                "inpainting_fill": 1,
                "inpaint_full_res": False,
                "resize_mode": 0,
                "denoising_strength": request.inpainting.denoising_strength,
            }
        return body

    def _options(self) -> dict[str, Any]:
        """The WebUI's settings."""
        try:
            options: dict[str, Any] = self._client.get(f"{_API}/options")
        except NotThere:
            raise self._no_api() from None
        if not isinstance(options, dict) or "sd_model_checkpoint" not in options:
            raise UserError(f"{self._client.address} does not say which checkpoint it has; is it a WebUI?")
        return options

    def _chosen(self, wanted: str) -> dict[str, Any]:
        """The checkpoint as the WebUI lists it."""
        models: list[dict[str, Any]] = self._client.get(f"{_API}/sd-models")
        # A path of another machine: its last part counts.
        name = PureWindowsPath(wanted).name
        for model in models:
            names = {model["title"], model["model_name"], PureWindowsPath(model["filename"]).name}
            if names & {wanted, name} or PureWindowsPath(model["filename"]).stem == name:
                return model
        known = ", ".join(str(model["model_name"]) for model in models[:20]) or "none"
        raise UserError(f"The WebUI at {self._client.address} has no checkpoint {name!r}; it has: {known}.")

    def _listed(self, lora: WeightedLora) -> str:
        """The name by which the WebUI lists the LoRA.

        Raises:
            UserError: it lists none of this name, or another file.
        """
        name = lora.file.stem
        found = self._find_lora(name)
        if found is None:
            with suppress(NotThere):
                self._client.post(f"{_API}/refresh-loras", {})
            found = self._find_lora(name)
        if found is None:
            raise UserError(
                f"{name}: the WebUI at {self._client.address} lists no LoRA of this name; copy the file into its "
                "models/Lora folder."
            )
        theirs, ours = (
            metadata.get("sshs_model_hash") for metadata in (found.get("metadata") or {}, _metadata(lora.file))
        )
        if theirs and ours and theirs != ours:
            raise UserError(
                f"{lora.file}: the WebUI at {self._client.address} has another file of this name; copy this one into "
                "its models/Lora folder."
            )
        return str(found["name"])

    def _find_lora(self, name: str) -> dict[str, Any] | None:
        try:
            loras: list[dict[str, Any]] = self._client.get(f"{_API}/loras")
        except NotThere:
            raise self._no_api() from None
        return next((one for one in loras if one["name"] == name), None)

    def _known_samplers(self) -> set[str]:
        if self._samplers is None:
            try:
                names = [one["name"] for one in self._client.get(f"{_API}/samplers")]
                labels = []
                with suppress(NotThere):
                    labels = [one["label"] for one in self._client.get(f"{_API}/schedulers")]
            except NotThere:
                raise self._no_api() from None
            self._samplers = {*names, *(f"{name} {label}" for name in names for label in labels)}
        return self._samplers

    def _units(self, request: DrawRequest) -> list[dict[str, Any]]:
        """What ControlNet is given.

        Raises:
            UserError: the WebUI has none, or ControlNet has no such preprocessor or model.
        """
        wanted = [control for control in (request.control, request.reference) if control is not None]
        if not wanted:
            return []
        try:
            models = self._client.get("controlnet/model_list")["model_list"]
            modules = self._client.get("controlnet/module_list")["module_list"]
        except NotThere:
            raise UserError(
                f"The WebUI at {self._client.address} has no ControlNet; install it there, or leave the control image "
                "and the reference out."
            ) from None
        units = []
        for control in wanted:
            unit = controlnet.unit(control)
            unit["model"] = controlnet.named(control.model, models) if control.model else "None"
            unit["module"] = controlnet.named(control.preprocessor or "none", [*modules, "None"])
            units.append(unit)
        return units

    def _no_api(self) -> UserError:
        return UserError(
            f"{self._client.address} answers, but has no API for drawing; start that WebUI with --api, and give the "
            "address of its page."
        )


def _runs(seeds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Seeds that follow one another: the first of them, and how many."""
    start = 0
    for end in range(1, len(seeds) + 1):
        if end == len(seeds) or seeds[end] != seeds[end - 1] + 1:
            yield seeds[start], end - start
            start = end


def _metadata(file: Path) -> dict[str, str]:
    """That of a LoRA on this machine; empty where it is not."""
    return read_header(file).metadata if file.suffix == ".safetensors" and file.is_file() else {}


def _encoded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _decoded(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2])))
    image.load()
    return image
