"""Runs inside a WebUI's own Python, as ``inside.py`` does: draws regions with LoRAs of their own, and looks for traces.

INPUT is a folder with the LoRAs ``a`` and ``b``. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from inside import CHECKPOINT, INPUT, PROMPT, changes, draw, state, webui
from modules import shared
from PIL import Image

from lora_scripts_ext.comparison import frame
from lora_scripts_ext.contract import Drawer, DrawRequest, Region, WeightedLora
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.webui import shared_state

WIDTH, HEIGHT = 128, 64
A, B = (WeightedLora(INPUT / f"{name}.safetensors", 0.7) for name in "ab")
LONG = "very " * 90 + "old"
REQUEST = DrawRequest(
    prompt="", negative="blurry", seeds=(7, 8), width=WIDTH, height=HEIGHT, steps=4, cfg_scale=7.0, sampler="Euler"
)


def regions(prompts: tuple[str, str], loras: tuple[tuple[WeightedLora, ...], ...]) -> DrawRequest:
    """The request with these in its halves."""
    return frame.request(REQUEST, prompts, loras, 32)


def differences(images: list[Image.Image], others: list[Image.Image]) -> list[int]:
    """The largest of the left and of the right half."""
    pairs = [(np.asarray(a).astype(int), np.asarray(b).astype(int)) for a, b in zip(images, others, strict=True)]
    halves = slice(0, WIDTH // 2), slice(WIDTH // 2, None)
    return [max(int(np.abs(a - b)[:, half].max()) for a, b in pairs) for half in halves]


def compared(drawer: Drawer) -> dict[str, object]:
    """The same in both regions against the plain image, and what different regions differ in."""
    plain = drawer.draw(replace(REQUEST, prompt="a teapot, on a table", loras=(A,)))
    both = regions(("a teapot", "a teapot"), ((A,), (A,)))
    two = regions(("a teapot", "a shoe"), ((A,), (B,)))
    apart = drawer.draw(two)
    long = regions((LONG, "a shoe"), ((A,), (B,)))
    return {
        "same": differences(drawer.draw(replace(both, prompt="on a table")), plain),
        "lora of the whole image": differences(
            drawer.draw(replace(regions(("a teapot", "a teapot"), ((), ())), prompt="on a table", loras=(A,))), plain
        ),
        "long": differences(
            drawer.draw(regions((LONG, LONG), ((A,), (A,)))), drawer.draw(replace(REQUEST, prompt=LONG, loras=(A,)))
        ),
        "again": differences(drawer.draw(two), apart),
        "other loras": differences(drawer.draw(regions(("a teapot", "a shoe"), ((B,), (A,)))), apart),
        "other prompts": differences(drawer.draw(regions(("a teapot", "a bag"), ((A,), (B,)))), apart),
        "without": differences(drawer.draw(replace(REQUEST, prompt="a teapot")), apart),
        "one long": differences(drawer.draw(long), apart),
        "three": len(drawer.draw(replace(two, regions=(*two.regions, Region("a bag", (A, B), two.regions[0].mask))))),
        "AND": said(drawer, regions(("a teapot AND a cup", "a shoe"), ((A,), (B,)))),
    }


def said(drawer: Drawer, request: DrawRequest) -> str:
    """The sentence of the error that drawing ends with."""
    try:
        drawer.draw(request)
    except UserError as error:
        return str(error)
    return ""


def drawn() -> dict[str, object]:
    """Everything that is looked at."""
    folder = Path(shared.cmd_opts.lora_dir)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(INPUT / "a.safetensors", folder)
    shared_state.publish()
    base, with_lora = draw(PROMPT), draw(f"{PROMPT} <lora:a:1>")
    before = state()
    with webui.Host().drawing(str(CHECKPOINT)) as drawer:
        report = compared(drawer)
    report["changed"] = changes(before, *webui.MOVED_BY_MERGING)
    report["image with LoRA"] = draw(f"{PROMPT} <lora:a:1>") == with_lora
    report["image"] = draw(PROMPT) == base
    return report


print(json.dumps(drawn()))
