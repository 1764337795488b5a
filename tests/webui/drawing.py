"""Runs inside a WebUI's own Python, as ``inside.py`` does: draws finished images, and looks for traces.

INPUT is a folder with the LoRAs ``a``, ``b`` and ``other``, which does not fit. The last line of stdout is one JSON
object.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from inside import CHECKPOINT, INPUT, KIND, PROMPT, changes, digest, draw, state, webui
from modules import processing, shared
from PIL import Image

from lora_scripts_ext.contract import Control, Drawer, DrawRequest, Inpainting, WeightedLora
from lora_scripts_ext.errors import Interrupted, UserError
from lora_scripts_ext.hosts.webui import shared_state

SIDE = 64
LORAS = (WeightedLora(INPUT / "a.safetensors", 0.7), WeightedLora(INPUT / "b.safetensors", -0.4))
REQUEST = DrawRequest(
    prompt=PROMPT, negative="blurry", seeds=(7, 8), width=SIDE, height=SIDE, steps=4, cfg_scale=7.0, sampler="Euler"
)


def theirs(prompt: str) -> list[Image.Image]:
    """The WebUI's own batch of the request's seeds; it takes eight pixels a latent cell for granted."""
    side = SIDE * 8 // 2 ** (webui.vae_levels() - 1)
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model, prompt=[prompt] * 2, negative_prompt="blurry", seed=[7, 8], subseed=0, batch_size=2,
        sampler_name="Euler", steps=4, width=side, height=side, do_not_save_samples=True, do_not_save_grid=True,
        cfg_scale=7.0,
    )  # fmt: skip
    images = processing.process_images(job).images
    job.close()
    return images


def digests(images: list[Image.Image]) -> list[str]:
    return [digest(image.convert("RGB").tobytes()) for image in images]


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def largest_difference(image: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(image).astype(int) - np.asarray(other).astype(int)).max())


def inpainted(drawer: Drawer) -> dict[str, object]:
    """An image whose right half is inpainted: how much of the rest changes, and what changes with the seed."""
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    images = drawer.draw(replace(REQUEST, inpainting=Inpainting(picture(), mask, 0.8)))
    left, right = (0, 0, SIDE // 2, SIDE), (SIDE // 2, 0, SIDE, SIDE)
    odd = replace(REQUEST, width=60, height=52, seeds=(7,))
    kept = Inpainting(picture().crop((0, 0, 60, 52)), mask.crop((0, 0, 60, 52)), 0.8)
    return {
        "kept": [largest_difference(image.crop(left), picture().crop(left)) for image in images],
        "drawn": [largest_difference(image.crop(right), picture().crop(right)) for image in images],
        "seeds differ": digests(images)[0] != digests(images)[1],
        "odd size": drawer.draw(replace(odd, inpainting=kept))[0].size,
    }


def said(call: Callable[[], object]) -> str:
    """The sentence of the error that it ends with."""
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


def controlled(drawer: Drawer) -> dict[str, object]:
    """ControlNet: the sentences, and whether a reference changes an image where there is one."""
    control = Control(picture(), "reference_only", "")
    request = replace(REQUEST, reference=control)
    lacks = drawer.lacks(request)
    unknown = drawer.lacks(replace(REQUEST, control=Control(picture(), "none", "no such model")))
    if lacks:
        return {"lacks": lacks, "unknown": unknown}
    first, again, plain = (digests(drawer.draw(one)) for one in (request, request, REQUEST))
    return {"lacks": "", "unknown": unknown, "repeats": first == again, "acts": first != plain}


def interrupted(drawer: Drawer) -> bool:
    """Whether the WebUI's Interrupt ends a drawing."""
    before = processing.process_images

    def pressed(job: object) -> object:
        shared.state.interrupt()
        return before(job)

    with shared_state.replaced(processing, {"process_images": pressed}):
        try:
            drawer.draw(REQUEST)
        except Interrupted:
            return True
    return False


def drawn() -> dict[str, object]:
    """Everything that is looked at."""
    report: dict[str, object] = {}
    folder = Path(shared.cmd_opts.lora_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        shutil.copy(INPUT / f"{name}.safetensors", folder)
    shared_state.publish()
    base = draw(PROMPT)
    expected = {"plain": digests(theirs(PROMPT)), "loras": digests(theirs(f"{PROMPT} <lora:a:0.7> <lora:b:-0.4>"))}
    with_lora = draw(f"{PROMPT} <lora:a:1>")
    before, stopped = state(), []
    with webui.Host(lambda: stopped.append(True)).drawing(str(CHECKPOINT)) as drawer:
        report["facts"] = [drawer.model_name, drawer.model_hash, drawer.resolution, drawer.cfg_scale]
        batch = drawer.draw(replace(REQUEST, loras=LORAS))
        alone = [drawer.draw(replace(REQUEST, loras=LORAS, seeds=(seed,)))[0] for seed in REQUEST.seeds]
        report["alone"] = [largest_difference(*pair) for pair in zip(batch, alone, strict=True)]
        report["as theirs"] = {
            "loras": digests(batch) == expected["loras"],
            "plain": digests(drawer.draw(REQUEST)) == expected["plain"],
            "again": digests(drawer.draw(replace(REQUEST, loras=LORAS))) == expected["loras"],
        }
        report["loras act"] = expected["loras"] != expected["plain"]
        report["inpainted"] = inpainted(drawer)
        report["controlled"] = controlled(drawer)
        report["misfit"] = said(
            lambda: drawer.draw(replace(REQUEST, loras=(WeightedLora(INPUT / "other.safetensors"),)))
        )
        report["missing"] = said(
            lambda: drawer.draw(replace(REQUEST, loras=(WeightedLora(INPUT / "none.safetensors"),)))
        )
        report["sampler"] = drawer.lacks(replace(REQUEST, sampler="Nobody"))
        report["known sampler"] = drawer.lacks(replace(REQUEST, sampler="DPM++ 2M Karras"))
        report["still theirs"] = digests(drawer.draw(replace(REQUEST, loras=LORAS))) == expected["loras"]
        report["interrupted"] = [interrupted(drawer), bool(stopped)]
    report["changed"] = changes(before, *webui.MOVED_BY_MERGING)
    report["image with LoRA"] = draw(f"{PROMPT} <lora:a:1>") == with_lora
    report["image"] = draw(PROMPT) == base
    return report


if __name__ == "__main__":
    print(json.dumps({"kind": KIND, **drawn()}))
