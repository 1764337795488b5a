"""Runs inside a WebUI's own Python, as ``inside.py`` does: draws with control images and references.

INPUT is a JSON file: how the ControlNet, the IP-Adapter and a file that is neither are called. Expected is what the
WebUI's own API draws when ControlNet's units are written by hand. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from drawing import digests
from fastapi import FastAPI
from inside import CHECKPOINT, INPUT, KIND, PROMPT, changes, draw, state, webui
from modules import call_queue, sd_samplers_common, shared
from modules.api import api, models
from PIL import Image, ImageDraw

from lora_scripts_ext.contract import Control, Drawer, DrawRequest, Inpainting
from lora_scripts_ext.errors import Interrupted, UserError
from lora_scripts_ext.hosts.webui import shared_state

CONTROL, ADAPTER, OTHER = json.loads(INPUT.read_text(encoding="utf-8"))
SIDE, STEPS = 128, 2
NONE, ENCODER = ("none", "ip-adapter_clip_h") if KIND == "a1111" else ("None", "CLIP-ViT-H (IPAdapter)")
REQUEST = DrawRequest(PROMPT, "blurry", (7,), SIDE, SIDE, STEPS, 7.0, "Euler")


def picture(seed: int) -> Image.Image:
    """Ellipses on white, wider than what is drawn."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE + 40, SIDE), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = rng.integers(0, 90, 3)
        pen.ellipse((x, y, x + size, y + size), fill=tuple(int(one) for one in rng.integers(0, 256, 3)))
    return image


def control(seed: int = 1, preprocessor: str = "", weight: float = 0.8) -> Control:
    """A control image for the ControlNet that is there."""
    return Control(picture(seed), preprocessor, CONTROL, weight)


def adapter(seed: int = 1, weight: float = 0.7) -> Control:
    """A reference for the IP-Adapter that is there."""
    return Control(picture(seed), ENCODER, ADAPTER, weight)


CASES = {
    "plain": REQUEST,
    "control": replace(REQUEST, control=control()),
    "edges": replace(REQUEST, control=control(preprocessor="canny")),
    "shuffled": replace(REQUEST, control=control(preprocessor="shuffle")),
    "another control image": replace(REQUEST, control=control(2)),
    "another weight of it": replace(REQUEST, control=control(weight=0.4)),
    "two seeds": replace(REQUEST, control=control(), seeds=(8, 9)),
    "reference only": replace(REQUEST, reference=Control(picture(1), "reference_only", "")),
    "adapter": replace(REQUEST, reference=adapter()),
    "another reference": replace(REQUEST, reference=adapter(2)),
    "another weight of the adapter": replace(REQUEST, reference=adapter(weight=0.3)),
    "both": replace(REQUEST, control=control(), reference=adapter(2)),
}
#: drawings that use what leaves something in the model
ENDED_EARLY = ("control", "reference only", *(() if KIND == "neo" else ("adapter",)))


class Theirs:
    """The WebUI's own API, called without a server."""

    def __init__(self) -> None:
        self._api = api.Api(FastAPI(), call_queue.queue_lock)

    def draw(self, request: DrawRequest) -> list[Image.Image]:
        """What ``/sdapi/v1/txt2img`` responds with."""
        body = {
            "prompt": PROMPT, "negative_prompt": "blurry", "seed": request.seeds[0], "subseed": 0, "cfg_scale": 7.0,
            "batch_size": len(request.seeds), "sampler_name": "Euler", "steps": STEPS, "width": SIDE, "height": SIDE,
        }  # fmt: skip
        units = [self._unit(one) for one in (request.control, request.reference) if one]
        scripts = {"controlnet": {"args": units}} if units else {}
        response = self._api.text2imgapi(models.StableDiffusionTxt2ImgProcessingAPI(**body, alwayson_scripts=scripts))
        return [Image.open(io.BytesIO(base64.b64decode(text))) for text in response.images[: len(request.seeds)]]

    @staticmethod
    def _unit(one: Control) -> dict[str, object]:
        buffer = io.BytesIO()
        one.image.save(buffer, format="PNG")
        return {
            "enabled": True, "image": base64.b64encode(buffer.getvalue()).decode(), "weight": one.weight,
            "module": one.preprocessor or NONE, "model": listed(one.model), "resize_mode": "Crop and Resize",
            "pixel_perfect": True,
        }  # fmt: skip


def listed(name: str) -> str:
    """A model as ControlNet lists it, with a hash; the extension for A1111 finds it without."""
    if KIND == "a1111" or not name:
        return name or "None"
    names = sys.modules["lib_controlnet.global_state"].get_all_controlnet_names()
    return next(one for one in names if one.partition(" [")[0] == name)


def ended(drawer: Drawer, request: DrawRequest, at_each_step: Callable[[], object]) -> str:
    """What becomes of a drawing when something else happens at each step of its sampling."""
    before = sd_samplers_common.store_latent

    def store(latent: object) -> None:
        before(latent)
        at_each_step()

    with shared_state.replaced(sd_samplers_common, {"store_latent": store}):
        ending = outcome(lambda: drawer.draw(request))
    shared.state.interrupted = False
    return ending


def outcome(call: Callable[[], object]) -> str:
    """How it ends; a sentence where it is one."""
    try:
        call()
    except Interrupted:
        return "interrupted"
    except (UserError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def fail() -> None:
    """As a card does whose memory is full."""
    raise RuntimeError("in the middle")


def images(drawer: Drawer, request: DrawRequest) -> list[str]:
    """What is drawn, or the sentence why it is not."""
    try:
        return digests(drawer.draw(request))
    except UserError as error:
        return [str(error)]


def inpainted(drawer: Drawer) -> list[bool]:
    """Whether a control image acts on the inpainted half alone."""
    image, mask = picture(3).crop((0, 0, SIDE, SIDE)), Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    request = replace(REQUEST, inpainting=Inpainting(image, mask, 0.8), steps=4)
    (plain,) = drawer.draw(request)
    (controlled,) = drawer.draw(replace(request, control=control()))
    halves = [(0, 0, SIDE // 2, SIDE), (SIDE // 2, 0, SIDE, SIDE)]
    return [plain.crop(half).tobytes() == controlled.crop(half).tobytes() for half in halves]


def drawn() -> dict[str, object]:
    """Everything that is looked at."""
    report: dict[str, object] = {}
    theirs = Theirs()
    base = draw(PROMPT)
    expected = {name: digests(theirs.draw(request)) for name, request in CASES.items()}
    again = draw(PROMPT) == base
    before = state()
    with webui.Host(lambda: None).drawing(str(CHECKPOINT)) as drawer:
        report["images"] = {name: images(drawer, request) for name, request in CASES.items()}
        report["inpainted"] = inpainted(drawer)
        ways = {"interrupted": shared.state.interrupt, "failed": fail}
        report["ended"] = {
            f"{name} {way}": [ended(drawer, CASES[name], act), digests(drawer.draw(REQUEST)) == expected["plain"]]
            for name in ENDED_EARLY
            for way, act in ways.items()
        }
        wrong = replace(REQUEST, control=Control(picture(1), "", OTHER))
        report["no model of ControlNet"] = outcome(lambda: drawer.draw(wrong))
        report["unknown"] = drawer.lacks(replace(REQUEST, control=Control(picture(1), "", "no such model")))
    report["changed"] = changes(before, *webui.MOVED_BY_MERGING)
    report["expected"], report["image"], report["theirs leaves no trace"] = expected, draw(PROMPT) == base, again
    return report


if __name__ == "__main__":
    print(json.dumps({"kind": KIND, **drawn()}))
